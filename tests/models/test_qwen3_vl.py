"""What is particular to this family: DeepStack reaches a picture's tokens, its own picture's, and no region token."""

import torch

from fo1.models import FO1ForConditionalGeneration
from tests import tiny


@torch.inference_mode()
def test_deep_features_reach_each_picture_s_own_tokens() -> None:
    model, processor = tiny.make_model("qwen3_vl"), tiny.make_processor("qwen3_vl")
    scenes = [tiny.scene(84, 56, 2, seed=1), tiny.scene(56, 140, 1, seed=2)]
    batch = tiny.collate(processor, *scenes)
    encoding = model.encode_images(batch)
    assert [len(layers) for layers in encoding.host.deep] == [2, 2]
    assert _logits(model, batch, blank=False).sub(_logits(model, batch, blank=True)).abs().max() > 1

    swapped = encoding.host.select([1, 0])
    alone = [model.encode_images(tiny.collate(processor, scene)).host for scene in scenes]
    for own, expected in zip(swapped.deep, reversed(alone), strict=True):
        for layer, other in zip(own, expected.deep[0], strict=True):
            torch.testing.assert_close(layer, other, atol=1e-5, rtol=1e-5)
    blank = encoding.host.blank()
    assert not any(layer.any() for layers in blank.deep for layer in layers)


def _logits(model: FO1ForConditionalGeneration, batch: dict, *, blank: bool) -> torch.Tensor:
    """Return the logits at regions, with or without what DeepStack adds to pictures."""
    handles = []
    if blank:
        for merger in model.vlm.model.visual.deepstack_merger_list:
            handles.append(merger.register_forward_hook(lambda *call: 0 * call[-1]))
    logits = model(**batch).logits[batch["input_ids"] == tiny.PLACEHOLDER]
    for handle in handles:
        handle.remove()
    return logits
