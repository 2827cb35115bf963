"""What is not marked complete is never loaded."""

from pathlib import Path

import pytest
import torch

from fo1.errors import CheckpointError
from fo1.training import checkpoint


def write(folder: Path, step: int, keep: int = 3) -> Path:
    part = checkpoint.begin(folder, step)
    checkpoint.write_learned(part / checkpoint.LEARNED, {"weight": torch.full((3,), float(step))})
    (part / checkpoint.STATE).write_text("{}")
    return checkpoint.finish(part, keep)


def test_the_newest_complete_one_is_found_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write(tmp_path, step)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-100"
    assert float(checkpoint.read_learned(found / checkpoint.LEARNED)["weight"][0]) == 100


@pytest.mark.parametrize("damage", ["no mark", "short file", "no file", "empty mark", "a part"])
def test_a_partial_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1)
    newer = write(tmp_path, 2)
    if damage == "no mark":
        (newer / checkpoint.MARK).unlink()
    elif damage == "short file":
        file = newer / checkpoint.LEARNED
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "no file":
        (newer / checkpoint.STATE).unlink()
    elif damage == "empty mark":
        (newer / checkpoint.MARK).write_text("")
    else:
        newer.rename(newer.with_name("checkpoint-2.part"))
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-1"


def test_old_and_broken_ones_go(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-7.part").mkdir()
    for step in range(1, 6):
        write(tmp_path, step, keep=2)
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-5"}


def test_there_may_be_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "learned.safetensors"
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="remove its folder") as caught:
        checkpoint.read_learned(file)
    assert "\n" not in str(caught.value)


def test_parameters_of_another_model_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no parameter 'other'"):
        checkpoint.set_learned(torch.nn.Linear(2, 2), {"other": torch.zeros(2)})
