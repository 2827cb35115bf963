"""What the trainer hands on, and settings that change cost but not the result."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests import tiny
from tests.training.tiny_run import make_run
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from fo1.errors import InputError
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training.run import MEASURED, Run, run


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("host", tiny.KINDS)
def test_gradient_checkpointing_changes_no_loss(host: str, tmp_path: Path) -> None:
    for name in ("true", "false"):
        run(make_run(tmp_path / name, f"host={host}", f"gradient_checkpointing={name}"))
    for one, other in zip(log(tmp_path / "true"), log(tmp_path / "false"), strict=True):
        assert one.pop("stage") == other.pop("stage")
        assert one == pytest.approx(other, rel=1e-5)


def test_gradient_checkpointing_computes_layers_again(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    calls = {"true": 0, "false": 0}
    for name in calls:
        given = make_run(tmp_path / name, f"gradient_checkpointing={name}", "stages.*.steps=1")
        load = given.load

        def counted(load: Any = load, name: str = name) -> FO1ForConditionalGeneration:
            model = load()

            def count(*_: Any) -> None:
                calls[name] += 1

            model.vlm.model.language_model.layers[0].mlp.register_forward_pre_hook(count)
            return model

        run(_with(given, load=counted))
    assert calls["true"] > calls["false"] > 0


def test_trackers_get_all_losses_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, float]] = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            told.append(dict(logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "ours", Tracker)
    given = make_run(tmp_path, "report_to=['ours']", "measure_every=5", "stages.alignment.steps=10")
    run(_with(given, measure=lambda _: {"AP": 12.5}))
    losses = [logs for logs in told if "loss" in logs]
    row = log(tmp_path)[9]
    assert row["step"] == 10
    assert {"lm", "score", "lm/detect", "learning_rate", "grad_norm"} <= set(losses[0])
    assert losses[0]["lm"] == row["lm"]
    assert [logs["eval_AP"] for logs in told if "eval_AP" in logs] == [12.5] * 3
    rows = [json.loads(line) for line in (tmp_path / MEASURED).read_text().splitlines()]
    assert [(one["stage"], one["step"]) for one in rows] == [
        ("alignment", 5),
        ("alignment", 10),
        ("perception", 5),
    ]
    assert {one["AP"] for one in rows} == {12.5}


def test_an_unknown_tracker_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report_to.*nonsense.*give one of .*tensorboard"):
        run(make_run(tmp_path, "report_to=['nonsense']"))


def test_a_tracker_that_is_not_installed_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(TrainerCallback):
        def __init__(self) -> None:
            raise RuntimeError("AbsentCallback requires absent to be installed.")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "absent", Absent)
    with pytest.raises(InputError, match=r"report_to.*absent.*installed"):
        run(make_run(tmp_path, "report_to=['absent']"))


def test_measuring_changes_no_loss(tmp_path: Path) -> None:
    """It draws numbers and puts the model into evaluation mode."""
    run(make_run(tmp_path / "without"))

    def measure(model: FO1ForConditionalGeneration) -> dict[str, float]:
        import torch

        model.eval()
        return {"drawn": float(torch.rand(()))}

    run(_with(make_run(tmp_path / "with", "measure_every=1"), measure=measure))
    without, own = log(tmp_path / "without"), log(tmp_path / "with")
    assert own == without


def _with(given: Run, **changes: Any) -> Run:
    return Run(**({name: getattr(given, name) for name in Run.__slots__} | changes))
