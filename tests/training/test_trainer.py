"""The loop trains what a stage names, writes whole checkpoints and resumes to the same numbers."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fo1.training import Stage, Trainer, apply_stage
from fo1.training.trainer import schedule


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)


STAGES = (
    Stage(name="one", learns=("first.",), steps=7, learning_rate=0.05, warmup=2),
    Stage(
        name="two",
        learns=("first.", "second."),
        steps=6,
        learning_rate=0.02,
        warmup=1,
        losses={"size": 0.5},
    ),
)


def losses(model: nn.Module, step: int, stage: Stage) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x, y = torch.randn(8, 3, generator=generator), torch.randn(8, 2, generator=generator)
    out = model.second(model.first(x).relu())
    return {"error": (out - y).square().mean(), "size": out.square().mean()}


def parameters(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def test_apply_stage_thaws_exactly_the_named_parameters() -> None:
    model = Two()
    assert apply_stage(model, STAGES[0]) == ["first.weight", "first.bias"]
    assert not model.second.weight.requires_grad


def test_apply_stage_refuses_a_prefix_without_parameters() -> None:
    with pytest.raises(ValueError, match=r"'third\.'"):
        apply_stage(Two(), Stage(name="x", learns=("third.",), steps=1, learning_rate=1.0))


def test_frozen_parameters_do_not_move(tmp_path: Path) -> None:
    model = Two()
    before = parameters(model.second)
    Trainer(model, STAGES[:1], losses, tmp_path).run()
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(model.second), strict=True))
    assert not torch.equal(model.first.weight, Two().first.weight)


@pytest.mark.parametrize("stop", [1, 5, 7, 9, 12])
def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path: Path, stop: int) -> None:
    whole = Two()
    Trainer(whole, STAGES, losses, tmp_path / "whole", every=3).run()
    Trainer(Two(), STAGES, losses, tmp_path / "parts", every=100).run(until=stop)
    resumed = Two()
    Trainer(resumed, STAGES, losses, tmp_path / "parts", every=3).run()
    for a, b in zip(parameters(whole), parameters(resumed), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_partly_written_checkpoint_is_never_loaded(tmp_path: Path) -> None:
    trainer = Trainer(Two(), STAGES, losses, tmp_path, every=3)
    trainer.run(until=3)
    whole = trainer.checkpoint.read_bytes()
    trainer.checkpoint.with_suffix(".part").write_bytes(whole[: len(whole) // 2])
    Trainer(Two(), STAGES, losses, tmp_path, every=3).run(until=4)
    assert torch.load(trainer.checkpoint, weights_only=True)["step"] == 4


def test_the_log_holds_every_loss(tmp_path: Path) -> None:
    Trainer(Two(), STAGES, losses, tmp_path).run()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["one", "two"]
    assert {"error", "size", "step"} <= rows[0].keys()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def broken(model: nn.Module, step: int, stage: Stage) -> dict[str, Tensor]:
        return {"error": model.first.weight.sum() * float("nan")}

    with pytest.raises(FloatingPointError, match="step 0"):
        Trainer(Two(), STAGES[:1], broken, tmp_path).run()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_schedule_rises_then_falls_to_a_tenth() -> None:
    values = [schedule(step, 100, 10) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == values[10] == 1.0
    assert values == [*values[:10], *sorted(values[10:], reverse=True)]
    assert values[-1] == pytest.approx(0.1, abs=1e-3)
