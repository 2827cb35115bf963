"""What is particular to this family: a picture's tokens see each other, whoever draws the mask; layers see a window."""

from typing import Any

import pytest
import torch

from fo1.models import FO1ForConditionalGeneration
from fo1.models.packing import Packed
from fo1.models.prefix import read_prefix
from fo1.models.scoring import Branches
from tests import tiny

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model() -> FO1ForConditionalGeneration:
    return tiny.make_model("gemma3")


def inputs_of(*scenes: tiny.Scene) -> dict[str, Any]:
    return tiny.collate(tiny.make_processor("gemma3"), *scenes)


@torch.inference_mode()
def test_a_drawn_mask_equals_the_host_s_own(model: FO1ForConditionalGeneration) -> None:
    """Two pictures in one prompt: each sees itself in both directions and the other from behind."""
    processor = tiny.make_processor("gemma3")
    inputs = processor(
        images=[tiny.picture(84, 56), tiny.picture(56, 140, seed=1)],
        boxes=[tiny.boxes(2, 84, 56), tiny.boxes(1, 56, 140)],
        text=tiny.prompt(2, 1),
    )
    ids = inputs["input_ids"]
    own = Packed(ids, torch.zeros_like(ids), torch.full_like(ids, -1))
    positions = torch.arange(ids.shape[1])[None]
    told = model(**inputs).logits
    inputs["attention_mask"] = own.mask()
    torch.testing.assert_close(model(**inputs, position_ids=positions).logits, told, **CLOSE)
    opened = model.family.attention(model.vlm.config, ids, own.mask())["attention_mask"][0, 0]
    image = ids[0] == model.family.image_token_id(model.vlm.config)
    first, last = image.nonzero().flatten()[[0, 24]]
    assert opened[first, last]
    assert not opened[first, last + 1 :].any()
    assert torch.equal(opened[~image], own.mask()[0, 0, ~image]), (
        "text and regions see what they saw"
    )


def test_a_window_that_would_hide_something_is_refused() -> None:
    model = tiny.make_model("gemma3", score=True)
    model.config.get_text_config().sliding_window = 40
    inputs = inputs_of(tiny.scene(84, 56, 3))
    length = inputs["input_ids"].shape[1]
    with pytest.raises(ValueError, match=rf"layers see 40 tokens, the sequence has {length}"):
        read_prefix(model, inputs["input_ids"])
    mask = inputs.pop("attention_mask")
    branches = Branches.pack([[[7, 8], [9]]])
    prefix = {"prefix_ids": inputs.pop("input_ids"), "prefix_mask": mask}
    with pytest.raises(ValueError, match=rf"layers see 40 tokens, the sequence has {length + 2}"):
        model.branch_states(**prefix, branches=branches, **inputs)


@torch.inference_mode()
def test_many_branches_may_fill_more_than_a_window() -> None:
    """Each sees the prefix and itself, so only these have to fit."""
    model = tiny.make_model("gemma3", score=True)
    inputs = inputs_of(tiny.scene(84, 56, 3))
    mask, ids = inputs.pop("attention_mask"), inputs.pop("input_ids")
    branches = Branches.pack([[[7, 8, number] for number in range(20)]])
    given = {"prefix_ids": ids, "prefix_mask": mask, "branches": branches, **inputs}
    wide, _ = model.branch_states(**given)
    model.config.get_text_config().sliding_window = ids.shape[1] + 3
    narrow, _ = model.branch_states(**given)
    assert torch.equal(wide, narrow)
