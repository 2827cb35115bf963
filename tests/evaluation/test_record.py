import json
import subprocess

import fo1
from fo1.evaluation.record import circumstances, commit, hash_data, hash_files, hash_model
from tests.evaluation.toy import Toy


def test_a_hash_changes_with_name_and_content_only(tmp_path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text("one")
    second.write_text("two")
    both = hash_files([first, second])
    assert both == hash_files([second, first, first])
    assert len(both) == 64
    second.write_text("twO")
    assert hash_files([first, second]) != both
    second.write_text("two")
    moved = second.rename(tmp_path / "c.json")
    assert hash_files([first, moved]) != both


def test_a_model_is_all_its_files_but_hidden_ones(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/model.safetensors").write_bytes(b"weights")
    before = hash_model(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/etag").write_text("x")
    assert hash_model(tmp_path) == before
    (tmp_path / "config.json").write_text("{}")
    assert hash_model(tmp_path) != before


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
