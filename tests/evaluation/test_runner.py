import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fo1.errors import InputError
from fo1.evaluation.contestants import MODEL, SHUFFLED, SWAPPED, TEXT_ONLY, ZEROED
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.processes import Processes
from fo1.evaluation.run_folder import RunFolder
from fo1.evaluation.runner import evaluate, run
from fo1.evaluation.summary import summarise
from fo1.pipeline import FO1
from tests.evaluation.toy import Toy, tiny_model

ROOT = Path(__file__).parents[2]
SETTINGS = {"task": "toy", "seed": 0}
CONTESTANTS = (MODEL, SWAPPED, TEXT_ONLY)


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def predictor(model: FO1, task: Toy) -> Predictor:
    return Predictor(model, task, None, CONTESTANTS)


def test_every_example_has_one_row_a_contestant_and_broken_ones_are_last(model, tmp_path) -> None:
    task = Toy.of(5, missing=(3,))
    told = run(predictor(model, task), RunFolder(tmp_path, SETTINGS), batch_size=2)
    assert told is not None
    assert {who: len(each) for who, each in told.items()} == {who.name: 5 for who in CONTESTANTS}
    written = rows(tmp_path)
    expected = [(f"{i}", who.name) for i in range(5) for who in CONTESTANTS]
    assert [(row["key"], row["who"]) for row in written[:-1]] == expected
    assert written[-1] == {"broken": "line 9", "error": "no picture named"}
    failed = [row for row in written[:-1] if "error" in row]
    assert [(row["key"], "picture 3 is not there" in row["error"]) for row in failed] == [
        ("3", True)
    ] * 3
    assert not (tmp_path / "parts").exists()


def test_rows_are_read_back_as_they_were(model, tmp_path) -> None:
    task = Toy.of(3)
    told = run(predictor(model, task), RunFolder(tmp_path, SETTINGS))
    assert told is not None
    again = run(predictor(model, task), RunFolder(tmp_path, SETTINGS))
    assert again is not None
    for who in CONTESTANTS:
        before = [one.to_row() for one in told[who.name]]
        assert before == [one.to_row() for one in again[who.name]]
        assert json.loads(json.dumps(before)) == json.loads(
            json.dumps([Prediction.from_row(json.loads(json.dumps(r))).to_row() for r in before])
        )


@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_run_that_was_cut_goes_on_to_the_same_rows(model, tmp_path, after) -> None:
    task = Toy.of(7, missing=(3,))
    run(predictor(model, task), RunFolder(tmp_path / "whole", SETTINGS), batch_size=2)
    asked: list[str] = []

    class Cut(Exception):
        pass

    def count(done: int, failed: int) -> None:
        asked.append("batch")
        if len(asked) == after:
            raise Cut

    with pytest.raises(Cut):
        run(predictor(model, task), RunFolder(tmp_path / "cut", SETTINGS), batch_size=2, step=count)
    part = tmp_path / "cut/parts/rows-0.jsonl"
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:-1]) + lines[-1][:-20])  # as kill -9 leaves it
    run(predictor(model, task), RunFolder(tmp_path / "cut", SETTINGS), batch_size=2)
    whole = (tmp_path / "whole/rows.jsonl").read_bytes()
    assert (tmp_path / "cut/rows.jsonl").read_bytes() == whole


def _start(out: Path, *more: str, count: int = 60) -> subprocess.Popen[bytes]:
    words = [
        sys.executable,
        *more,
        str(ROOT / "tests/evaluation/toy.py"),
        str(out),
        f"{count}",
        "3",
    ]
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"})


def test_killed_in_the_middle_nothing_is_lost_or_doubled(tmp_path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _start(whole).wait(120) == 0
    process = _start(killed)
    part = killed / "parts/rows-0.jsonl"
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if part.exists() and part.stat().st_size > 4000:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (killed / "rows.jsonl").exists()  # it was not through
    assert part.stat().st_size > 4000
    assert _start(killed).wait(120) == 0
    assert (killed / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    keys = Counter((row["key"], row["who"]) for row in rows(killed)[:-1])
    assert len(keys) == 60 * 3
    assert set(keys.values()) == {1}


def test_two_processes_share_a_run(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert _start(one, count=10).wait(120) == 0
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert _start(two, *torchrun, count=10).wait(200) == 0
    assert (two / "rows.jsonl").read_bytes() == (one / "rows.jsonl").read_bytes()


def test_processes_are_read_from_the_environment(monkeypatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment() == Processes(3, 4, 1)
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(InputError, match="torchrun"):
        Processes.from_environment()


def test_another_run_in_the_folder_is_left_alone(model, tmp_path) -> None:
    run(predictor(model, Toy.of(2)), RunFolder(tmp_path, SETTINGS))
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"seed.*0.*this one has.*1.*--out"):
        RunFolder(tmp_path, {**SETTINGS, "seed": 1})
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(InputError, match="no settings of a run"):
        RunFolder(tmp_path, SETTINGS)


def test_more_contestants_add_rows_to_a_run(model, tmp_path) -> None:
    task = Toy.of(3)
    run(Predictor(model, task), RunFolder(tmp_path, SETTINGS))
    own = rows(tmp_path)
    run(Predictor(model, task, None, (MODEL, ZEROED)), RunFolder(tmp_path, SETTINGS))
    both = rows(tmp_path)
    assert [row for row in both if row.get("who") == "model"] == own[:-1]
    assert sum(row.get("who") == ZEROED.name for row in both) == 3
    run(Predictor(model, task), RunFolder(tmp_path, SETTINGS))  # what is not asked for stays
    key = lambda row: json.dumps(row, sort_keys=True)  # noqa: E731
    assert sorted(map(key, rows(tmp_path))) == sorted(map(key, both))


def test_evaluation_in_memory_equals_the_run(model, tmp_path) -> None:
    task = Toy.of(4)
    told = run(predictor(model, task), RunFolder(tmp_path, SETTINGS), batch_size=4)
    assert told is not None
    found = evaluate(model, task, contestants=CONTESTANTS, floors=True, batch_size=4, resamples=50)
    assert found.figures == summarise(task, told, floors=True, resamples=50).figures
    assert found.bounds["nothing"]["accuracy"].value == 0
    assert set(found.bounds) == {"two regions swapped", "text only", "nothing"}
    assert found.counts == {
        "examples": 4, "pictures": 2, "failed": 0, "broken": 1, "problems": 0
    }  # fmt: skip
    assert found.scored_by == ("head",)


def test_a_model_in_training_is_measured_and_goes_on(tmp_path) -> None:
    """The model that learns, wrapped as it is: figures follow its weights, its mode is kept."""
    learning = tiny_model()
    network = learning.engine.model.train()
    task = Toy.of(6)
    before = evaluate(learning, task, resamples=10)
    assert network.training
    again = evaluate(learning, task, resamples=10)
    assert again.figures == before.figures  # nothing random such as dropout takes part
    rows = Predictor(learning, task).predict(task.examples)["model"]
    assert network.score_head is not None
    optimiser = torch.optim.SGD(network.score_head.parameters(), lr=0.5)
    loss = sum((weight**2).sum() for weight in network.score_head.parameters())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    optimiser.step()
    evaluate(learning, task, resamples=10)
    moved = Predictor(learning, task).predict(task.examples)["model"]
    assert [one.to_row() for one in rows] != [one.to_row() for one in moved]


def test_perfect_predictions_score_100_and_failed_ones_nothing() -> None:
    task = Toy.of(6)
    weights = resampling(3, 20)
    (perfect,) = task.measure([task.perfect(example) for example in task.examples], weights)
    assert perfect.estimate.value == 100
    (failed,) = task.measure([Prediction.failed(e, "no") for e in task.examples], weights)
    assert failed.estimate.value == 0


def test_a_shuffle_is_the_same_in_every_batch(model) -> None:
    task = Toy.of(4)
    ask = Predictor(model, task, None, (SHUFFLED,))
    together = ask.predict(task.examples)[SHUFFLED.name]
    apart = [ask.predict([example])[SHUFFLED.name][0] for example in task.examples]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.said[0].scores, other.said[0].scores, atol=2e-5)


def test_batch_size_below_one_is_refused(model, tmp_path) -> None:
    with pytest.raises(InputError, match="batch size"):
        run(Predictor(model, Toy.of(2)), RunFolder(tmp_path, SETTINGS), batch_size=0)


def test_a_question_that_fails_takes_only_its_own_example(model, monkeypatch) -> None:
    import fo1.evaluation.predicting as module

    real = module.answer_each

    def answer_each(asked):
        if any(scene.image_size == (64, 104) for scene, _ in asked):
            raise RuntimeError("out of\nmemory")
        return real(asked)

    monkeypatch.setattr(module, "answer_each", answer_each)
    told = Predictor(model, Toy.of(6)).predict(Toy.of(6).examples)["model"]
    assert [one.error for one in told] == [
        "RuntimeError: out of memory" if index % 3 == 1 else None for index in range(6)
    ]


def test_a_row_that_does_not_fit_is_asked_again(model, tmp_path) -> None:
    task = Toy.of(3)
    run(Predictor(model, task), RunFolder(tmp_path, SETTINGS))
    path = tmp_path / "rows.jsonl"
    whole = path.read_bytes()
    first, second, third, broken = (json.loads(line) for line in whole.splitlines())
    first["said"] = first["said"][:1]  # as of a version that asked less
    second["said"][0]["regions"][0] = 99
    third["boxes"][0] = [1, 2, 3]
    path.write_text("".join(json.dumps(row) + "\n" for row in (first, second, third, broken)))
    run(Predictor(model, task), RunFolder(tmp_path, SETTINGS))
    assert path.read_bytes() == whole


def test_failed_examples_are_asked_again_once_their_lines_are_gone(model, tmp_path) -> None:
    run(Predictor(model, Toy.of(5, missing=(3,))), RunFolder(tmp_path, SETTINGS))
    path = tmp_path / "rows.jsonl"
    kept = [line for line in path.read_text().splitlines() if '"error"' not in line]
    path.write_text("\n".join(kept) + "\n")
    told = run(Predictor(model, Toy.of(5)), RunFolder(tmp_path, SETTINGS))
    assert told is not None
    assert [one.error for one in told["model"]] == [None] * 5


def test_a_picture_of_another_size_than_its_annotation_fails(model) -> None:
    task = Toy.of(2)
    first = replace(task.examples[0], image_size=(64, 96))
    second = replace(task.examples[1], image_size=(64, 96))  # the picture is 104 wide
    told = Predictor(model, replace(task, examples=(first, second))).predict((first, second))
    assert [one.error for one in told["model"]] == [
        None,
        "0.png is 104 x 64, but its annotation is for 96 x 64; take the picture that belongs to it",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_two_runs_do_not_share_a_folder(tmp_path) -> None:
    first = RunFolder(tmp_path, SETTINGS)
    (tmp_path / "rows.jsonl.1.new").write_text("of a process that was killed")
    with pytest.raises(InputError, match="another run is writing"):
        RunFolder(tmp_path, SETTINGS)
    RunFolder(tmp_path, SETTINGS, rank=1).close()  # a process of the same run
    first.close()
    RunFolder(tmp_path, SETTINGS).close()
    assert not list(tmp_path.glob("*.new"))


def test_each_process_asks_its_own_batches_alone(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Processes, "wait_for_all", lambda self: None)
    task = Toy.of(5)
    asked = run(Predictor(model, task), RunFolder(tmp_path, SETTINGS, 1), processes=Processes(1, 2))
    assert asked is None
    lines = (tmp_path / "parts/rows-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["1", "3"]


def test_a_device_that_is_lost_ends_the_run(model, tmp_path, monkeypatch) -> None:
    def lost(*_: object) -> None:
        raise torch.AcceleratorError("the device is gone")

    monkeypatch.setattr("fo1.evaluation.predicting.answer_each", lost)
    with pytest.raises(torch.AcceleratorError):
        run(Predictor(model, Toy.of(3)), RunFolder(tmp_path, SETTINGS))
    assert (tmp_path / "parts/rows-0.jsonl").read_text() == ""  # nothing counts as failed


def test_floors_of_several_seeds_are_averaged() -> None:
    class Seeds(Toy):
        def bounds(self, predictions):
            perfect = [self.perfect(example) for example in self.examples]
            return {"half": [perfect, [Prediction.empty(example) for example in self.examples]]}

    task = Seeds(examples=Toy.of(4).examples)
    told = {"model": [task.perfect(example) for example in task.examples]}
    found = summarise(task, told, floors=True, resamples=5)
    assert found.bounds["half"]["accuracy"].value == 50
