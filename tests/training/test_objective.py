"""How samples are laid in rows changes neither losses nor gradients."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests import tiny
from tests.training import samples
from torch import Tensor

from fo1.data.collator import Batch, Collator
from fo1.data.sample import Sample
from fo1.layout import TURN_START, answer_turn, question_branch, scene_prefix
from fo1.training.objective import LM, SCORE, Objective

MIXED = (samples.scene(0), samples.text(), samples.pair(1), samples.scene(2, 5), samples.bare(3))
LAYOUTS: dict[str, dict[str, Any]] = {
    "right": {},
    "left": {"padding": "left"},
    "packed": {"pack_to": 700},
    "packed on the left": {"pack_to": 520, "padding": "left"},
    "one row": {"pack_to": 100_000},
}


@pytest.fixture(scope="module", params=sorted(tiny.HOSTS))
def host(request: pytest.FixtureRequest) -> str:
    return request.param


def batch_of(host: str, some: Sequence[Sample], **layout: Any) -> Batch:
    return Collator(tiny.make_processor(host), **layout)(some)


def run(host: str, some: Sequence[Sample], **layout: Any) -> tuple[dict[str, float], list[Tensor]]:
    """Losses and the gradient of each parameter, all sums over the samples."""
    objective = Objective(tiny.make_model(host, score=True, pointer=8))
    losses = objective(batch_of(host, some, **layout))
    (losses[LM] + losses[SCORE]).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in objective.parameters()]
    return {name: float(loss.detach()) for name, loss in losses.items()}, gradients


def apart(host: str) -> tuple[dict[str, float], list[Tensor]]:
    """The slow oracle: every sample in a batch of its own."""
    losses: dict[str, float] = {}
    gradients: list[Tensor] = []
    for sample in MIXED:
        own, grads = run(host, [sample])
        for name, value in own.items():
            losses[name] = losses.get(name, 0.0) + value
        gradients = [a + b for a, b in zip(gradients, grads, strict=True)] if gradients else grads
    return losses, gradients


@pytest.fixture(scope="module")
def oracle(host: str) -> tuple[dict[str, float], list[Tensor]]:
    return apart(host)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_rows_gives_the_losses_and_gradients_of_single_samples(
    host: str, layout: str, oracle: tuple[dict[str, float], list[Tensor]]
) -> None:
    losses, gradients = run(host, MIXED, **LAYOUTS[layout])
    assert losses == pytest.approx(oracle[0], rel=1e-4)
    assert all(losses[name] > 0 for name in (LM, SCORE))
    scale = max(float(g.abs().max()) for g in oracle[1] if g.numel())
    for found, wanted in zip(gradients, oracle[1], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * scale)


def test_packing_saves_rows() -> None:
    assert len(batch_of("qwen2_5_vl", MIXED).packed.ids) == len(MIXED)
    packed = batch_of("qwen2_5_vl", MIXED, pack_to=100_000)
    assert len(packed.packed.ids) == 1
    assert bool((packed.packed.scene >= 0).all())


@torch.no_grad()
def test_losses_are_those_of_whole_passes_with_the_pointer(host: str) -> None:
    """What stands in the answers is as likely as `forward` says, dialogue by dialogue."""
    model, processor = tiny.make_model(host, score=True, pointer=8), tiny.make_processor(host)
    sample = samples.scene(0)
    expected = 0.0
    for dialogue in sample.dialogues:
        text = scene_prefix(*map(len, sample.boxes))
        for number, (question, answer) in enumerate(dialogue.turns):
            text += (f"\n{TURN_START}user\n" if number else "") + question_branch(question)
            asked, told = (
                processor(images=sample.images, boxes=sample.boxes, text=one)
                for one in (text, text + answer_turn(answer))
            )
            length, ids = asked["input_ids"].shape[1], told["input_ids"][0]
            chances = model(**told).logits[0].log_softmax(-1)
            expected -= float(chances[range(length - 1, len(ids) - 1), ids[length:]].sum())
            text += answer_turn(answer)
    losses = Objective(model)(batch_of(host, [sample]))
    assert float(losses[LM]) == pytest.approx(expected, rel=1e-4)
