import json
import subprocess

import fo1
from fo1.evaluation.record import circumstances, commit, hash_data
from tests.evaluation.toy import Toy


def test_data_are_files_and_questions() -> None:
    assert hash_data(Toy.of(3)) == hash_data(Toy.of(3))
    assert hash_data(Toy.of(3)) != hash_data(Toy.of(4))


def test_the_record_says_what_a_repetition_needs() -> None:
    record = circumstances(["eval", "toy", "--data", "my data"], 7, 1.26, model="nano")
    assert record["command"] == "fo1 eval toy --data 'my data'"
    assert (record["seed"], record["seconds"], record["model"]) == (7, 1.3, "nano")
    assert record["versions"]["fo1"] == fo1.__version__
    assert record["versions"]["torch"]
    assert record["machine"]["cores"] >= 1
    json.dumps(record)


def test_the_commit_is_that_of_the_checkout(monkeypatch) -> None:
    told = commit()
    assert told is None or len(told.removesuffix("-dirty")) == 40

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", fail)
    assert commit() is None
