"""Every stage against the reference's golden tensors; a failure names the case and the stage."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from fo1.layout import Picture, Turn, build_prompt
from fo1.models import FO1Processor
from fo1.models.pooling import pool_regions
from tests.parity.cases import (
    CASES,
    FIXTURES,
    STEPS,
    Run,
    golden_boxes,
    load_picture,
    run_case,
)

LOGITS_TOLERANCE = 1e-3  # absolute; the logits' spread is about 4


def unprojected_tokens(run: Run) -> Tensor:
    return run.model.family.encode_images(run.model.vlm, run.inputs).tokens[0]


STAGES: dict[str, Callable[[Run], Tensor]] = {
    "pixel_values": lambda run: run.inputs["pixel_values"],
    "aux_pixel_values": lambda run: run.inputs["auxiliary_pixel_values"][0],
    "bbox_aux": lambda run: run.inputs["auxiliary_boxes"][0],
    "aux_boxes": lambda run: run.inputs["auxiliary_boxes"][0],
    "vt_boxes": lambda run: run.inputs["host_boxes"][0],
    **{f"vit_level.{i}": lambda run, i=i: run.encoding.host.maps[0].maps[i] for i in range(4)},
    **{f"davit_stage.{i}": lambda run, i=i: run.encoding.auxiliary[0][i][0] for i in range(4)},
    **{f"simple_fpn.{i}": lambda run, i=i: run.encoding.levels[0][i] for i in range(4)},
    "vit_output": unprojected_tokens,
    "image_feat_after_projector": lambda run: run.encoding.host.tokens[0],
    "region_feat_before_projector": lambda run: run.regions.features,
    "region_feat_after_projector": lambda run: run.regions.embeddings,
    "inputs_embeds": lambda run: run.embeddings,
}
EXACT_STAGES: dict[str, Callable[[Run], Tensor]] = {
    "image_grid_thw": lambda run: run.inputs["image_grid_thw"],
    "position_ids": lambda run: run.positions,
    "n_logits": lambda run: torch.tensor([len(run.logits)]),
    # The model keeps no delta: it is where the next token stands, less the number of tokens.
    "rope_deltas": lambda run: (run.positions.max() + 1 - run.positions.shape[1]).reshape(1, 1),
    "generated_ids": lambda run: run.generated.sequences[0, -STEPS:],
}
ELSEWHERE = {"input_ids", "logits_last8", "step_logits", "step_margin"}


def rows(stages: dict[str, Callable[[Run], Tensor]]) -> list[tuple[str, str]]:
    return [(case, stage) for case in CASES for stage in stages if stage in CASES[case]["tensors"]]


@pytest.mark.parametrize("case", CASES)
def test_every_golden_tensor_is_compared(case: str) -> None:
    assert set(CASES[case]["tensors"]) <= set(STAGES) | set(EXACT_STAGES) | ELSEWHERE


@pytest.mark.parametrize("case", CASES)
def test_prompt(case: str) -> None:
    info = CASES[case]
    turn = Turn("user", (Picture(len(info["boxes"])), info["text"]))
    assert build_prompt(turn) == info["prompt"]


@pytest.mark.parametrize("case", CASES)
def test_input_ids(case: str) -> None:
    """The reference holds -200 for the whole picture and -300 for a region; ours holds real ids."""
    outcome = run_case(case)
    ids = outcome.inputs["input_ids"][0]
    config = outcome.model.config
    image_id = outcome.model.family.image_token_id(config.vlm_config)
    is_image = ids == image_id
    assert int(is_image.sum()) == len(outcome.encoding.host.tokens[0])

    first_of_image = is_image & ~torch.roll(is_image, 1)
    theirs = ids[~is_image | first_of_image].clone()
    theirs[theirs == image_id] = -200
    theirs[theirs == config.region_placeholder_id] = -300
    assert theirs.tolist() == outcome.golden["input_ids"].tolist()


@pytest.mark.parametrize(("case", "stage"), rows(EXACT_STAGES))
def test_exact_stage(case: str, stage: str) -> None:
    outcome = run_case(case)
    assert torch.equal(EXACT_STAGES[stage](outcome), outcome.golden[stage])


@pytest.mark.parametrize(("case", "stage"), rows(STAGES))
def test_stage(case: str, stage: str) -> None:
    outcome = run_case(case)
    outcome.assert_close(stage, STAGES[stage](outcome))


@pytest.mark.parametrize("case", CASES)
def test_logits_of_the_prompt(case: str) -> None:
    outcome = run_case(case)
    difference = (outcome.logits[-8:] - outcome.golden["logits_last8"]).abs().max().item()
    assert difference <= LOGITS_TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_logits_of_every_step(case: str) -> None:
    outcome = run_case(case)
    logits = torch.cat(outcome.generated.logits)
    golden = outcome.golden["step_logits"].reshape(-1)
    difference = (outcome.stored_part("step_logits", logits) - golden).abs().max().item()
    assert difference <= LOGITS_TOLERANCE
    top = logits.topk(2).values
    margin = top[:, 0] - top[:, 1]
    torch.testing.assert_close(margin, outcome.golden["step_margin"], atol=2e-3, rtol=0)


def test_pixels_to_tokens_in_one_call() -> None:
    """The staged run above and the one-call path from raw inputs are the same."""
    outcome = run_case("chelsea_7")
    out = outcome.model.generate(
        **outcome.inputs, max_new_tokens=STEPS, do_sample=False, eos_token_id=None
    )
    assert torch.equal(out, outcome.generated.sequences)


def test_tiny_picture_keeps_its_boxes_on_their_pixels() -> None:
    """Where we differ from the reference on purpose: boxes are enlarged with their picture."""
    info = CASES["small_2"]
    picture = load_picture(info["image"])
    assert picture.size == (60, 24)
    boxes_in_enlarged_frame = np.array(info["boxes"], np.float32)
    np.testing.assert_allclose(
        run_case("small_2").inputs["auxiliary_boxes"][0], boxes_in_enlarged_frame, rtol=1e-6
    )

    processor = FO1Processor.from_pretrained(FIXTURES / info["model"])
    ours = processor(images=[picture], boxes=[info["boxes"]])["auxiliary_boxes"][0]
    expected = boxes_in_enlarged_frame * np.array([1, 28 / 24, 1, 28 / 24], np.float32)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert not np.allclose(ours, golden_boxes("small_2"))


@pytest.mark.parametrize(("case", "other"), [("roi14_chelsea_7", 7), ("nofpn_astronaut_7", 14)])
def test_tolerance_sees_a_wrong_number_of_bins(case: str, other: int) -> None:
    """Greedy tokens do not notice this option, so the region vectors have to."""
    outcome = run_case(case)
    encoder, boxes = outcome.model.region_encoder, outcome.inputs["host_boxes"][0]
    assert encoder.config.output_size != other
    level = outcome.encoding.levels[0][0]
    stride = 14 / (4 if encoder.pyramid is not None else 1)
    width = level.shape[0]
    start = encoder.auxiliary.width
    wrong = outcome.regions.features.clone()
    right = pool_regions(level, boxes, stride, encoder.config.output_size)
    wrong[:, start : start + width] += pool_regions(level, boxes, stride, other) - right
    with pytest.raises(AssertionError, match="region_feat_before_projector differs"):
        outcome.assert_close("region_feat_before_projector", wrong)
