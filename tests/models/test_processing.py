"""What the processor makes for the auxiliary encoder: pixels as Pillow resizes them, boxes in that frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from fo1.errors import CheckpointError, InputError
from fo1.models import FO1Processor
from fo1.models.families import FAMILIES, get_family
from fo1.models.processing import IMAGENET_MEAN, IMAGENET_STD
from tests import tiny

BOXES = [[0, 0, 93, 70], [10.25, 5.5, 60.75, 61]]


def with_resize(resize: str) -> FO1Processor:
    processor = tiny.make_processor()
    processor.auxiliary_resize = resize
    return processor


@pytest.mark.parametrize(
    ("resize", "side"), [("dynamic", None), ("squash", 768), ("dynamic_square", 384)]
)
def test_pixels_and_boxes_of_every_resize(resize: str, side: int | None) -> None:
    picture = tiny.picture(93, 70)
    made = with_resize(resize)(images=[picture], boxes=[BOXES])
    width, height = (side, side) if side else picture.size
    seen = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    expected = (seen / 255 - IMAGENET_MEAN) / IMAGENET_STD
    pixels = made["auxiliary_pixel_values"][0]
    assert pixels.shape == (3, height, width)
    np.testing.assert_allclose(pixels, expected.transpose(2, 0, 1), atol=1e-5)
    boxes = made["auxiliary_boxes"][0]
    assert boxes[0].tolist() == [0, 0, width, height]
    scale = [width / 93, height / 70] * 2
    np.testing.assert_allclose(boxes[1], np.array(BOXES[1]) * scale, rtol=1e-6)


def test_the_host_sees_the_same_whatever_the_auxiliary_encoder_does() -> None:
    picture = tiny.picture(93, 70)
    plain, squashed = (
        with_resize(resize)(images=[picture], boxes=[BOXES]) for resize in ("dynamic", "squash")
    )
    assert torch.equal(plain["pixel_values"], squashed["pixel_values"])
    torch.testing.assert_close(plain["host_boxes"], squashed["host_boxes"], rtol=1e-6, atol=0)


def test_boxes_in_double_precision_are_rounded_once() -> None:
    """Rounded to float32 first, this edge would end a bit off."""
    edge = 0.1
    made = with_resize("squash")(images=[tiny.picture(93, 70)], boxes=[[[edge, 0, 93, 70]]])
    assert made["auxiliary_boxes"][0][0, 0].item() == np.float32(edge * 768 / 93)


def test_resize_is_saved_and_checked(tmp_path: Path) -> None:
    with_resize("dynamic_square").save_pretrained(tmp_path)
    assert FO1Processor.from_pretrained(tmp_path).auxiliary_resize == "dynamic_square"
    file = tmp_path / "processor_config.json"
    stored: dict[str, Any] = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {"auxiliary_resize": "pad"}))
    with pytest.raises(CheckpointError, match=r"auxiliary_resize is 'pad', need one of dynamic"):
        FO1Processor.from_pretrained(tmp_path)
    del stored["auxiliary_resize"]
    file.write_text(json.dumps(stored))
    assert FO1Processor.from_pretrained(tmp_path).auxiliary_resize == "dynamic"


# The host's family.


@pytest.mark.parametrize("host", sorted(FAMILIES))
def test_host_is_saved_and_read_back(tmp_path: Path, host: str) -> None:
    processor = tiny.make_processor(host)
    processor.save_pretrained(tmp_path)
    stored: dict[str, Any] = json.loads((tmp_path / "processor_config.json").read_text())
    assert stored["host"] == host
    loaded = FO1Processor.from_pretrained(tmp_path)
    assert loaded.host == host
    before, after = (tiny.collate(p, tiny.scene(93, 70, 3)) for p in (processor, loaded))
    torch.testing.assert_close(dict(after), dict(before), rtol=0, atol=0)


def test_processors_of_old_name_no_host(tmp_path: Path) -> None:
    tiny.make_processor().save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    stored: dict[str, Any] = json.loads(file.read_text())
    del stored["host"]
    file.write_text(json.dumps(stored))
    assert FO1Processor.from_pretrained(tmp_path).host == "qwen2_5_vl"
    file.write_text(json.dumps(stored | {"host": "gpt2"}))
    with pytest.raises(CheckpointError, match="'gpt2'; known families"):
        FO1Processor.from_pretrained(tmp_path)


def test_an_image_processor_of_another_host_is_refused() -> None:
    kind = CLIPImageProcessorPil()
    with pytest.raises(InputError, match="CLIPImageProcessorPil has no patch_size"):
        FO1Processor(kind, kind, tiny.make_processor().tokenizer)


@pytest.mark.parametrize("host", sorted(FAMILIES))
def test_boxes_meet_the_host_s_frame(host: str) -> None:
    """The whole picture is the whole frame, and one box more or less is scaled along each axis."""
    made = tiny.make_processor(host)(images=[tiny.picture(93, 70)], boxes=[BOXES])
    processor = tiny.make_processor(host)
    ((width, height),) = processor.host_frames(made)
    np.testing.assert_allclose(made["host_boxes"][0][0], [0, 0, width, height], rtol=1e-6)
    scale = [width / 93, height / 70] * 2
    np.testing.assert_allclose(made["host_boxes"][0][1], np.array(BOXES[1]) * scale, rtol=1e-6)
    model = tiny.make_model(host)
    features = get_family(host).encode_images(model.vlm, made)
    assert [maps.frame for maps in features.maps] == [(width, height)]
    assert [len(tokens) for tokens in features.tokens] == processor.image_token_counts(made)
