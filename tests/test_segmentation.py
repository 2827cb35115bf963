"""SAM 2 with random weights: where its masks lie, and what becomes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2Model
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig

from fo1 import BoxError, CheckpointError, Detections, InputError
from fo1.segmentation import AT_ONCE, Segmenter
from fo1.visualize import draw
from tests import tiny

BOXES = [[10, 20, 60, 80], [50.5, 0, 120, 100]]


def tiny_sam() -> Sam2Model:
    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 24, 32],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    config = Sam2Config(
        vision_config={
            "backbone_config": hiera.to_dict(),
            "backbone_channel_list": [32, 24, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    torch.manual_seed(0)
    return Sam2Model(config).eval()


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(tiny_sam())


@pytest.fixture(scope="module")
def picture() -> Any:
    return tiny.picture(130, 100)


def test_loads_from_a_folder(segmenter: Segmenter, picture: Any, tmp_path: Path) -> None:
    segmenter.model.save_pretrained(tmp_path)
    loaded = Segmenter.from_pretrained(tmp_path)
    assert loaded.in_boxes(picture, BOXES) == segmenter.in_boxes(picture, BOXES)
    for other in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(CheckpointError, match="holds no SAM 2"):
            Segmenter.from_pretrained(other)


@pytest.mark.parametrize("points", [False, True])
def test_masks_are_those_of_the_model(segmenter: Segmenter, picture: Any, points: bool) -> None:
    """By the model's own forward, one prompt after another, with the frame written out."""
    model = segmenter.model
    square = np.asarray(picture.resize((64, 64), 2), np.float32) / 255
    pixels = (square - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    pixels = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
    scale = np.array([64 / 130, 64 / 100])
    given = [[30, 40], [129.5, 99]] if points else BOXES
    found = (segmenter.at_points if points else segmenter.in_boxes)(picture, given)
    assert found.image_size == (100, 130)
    for row, prompt in enumerate(given):
        placed = torch.tensor(np.array(prompt).reshape(-1, 2) * scale).float()
        with torch.inference_mode():
            if points:
                said = model(pixels, input_points=placed[None, None], multimask_output=True)
            else:
                said = model(pixels, input_boxes=placed.reshape(1, 1, 4), multimask_output=False)
        best = int(said.iou_scores[0, 0].argmax())
        fine = torch.nn.functional.interpolate(
            said.pred_masks[0, :, best : best + 1].float(), size=(100, 130), mode="bilinear"
        )[0, 0]
        expected = (fine > 0).numpy()
        if expected.any():
            assert (found.decode(row) == expected).mean() > 0.999


def test_nothing_found_is_the_box_or_the_pixel(segmenter: Segmenter, picture: Any) -> None:
    ask = segmenter._ask
    try:
        segmenter._ask = lambda seen, boxes, *_: torch.full((len(boxes), 16, 16), -1.0)  # type: ignore[method-assign]
        boxes = segmenter.in_boxes(picture, [*BOXES, [129.7, 99.7, 130, 100]])
        assert boxes.boxes().tolist() == [[10, 20, 60, 80], [50, 0, 120, 100], [129, 99, 130, 100]]
        points = segmenter.at_points(picture, [[3.2, 4.9], [130, 100]])
        assert points.boxes().tolist() == [[3, 4, 4, 5], [129, 99, 130, 100]]
    finally:
        segmenter._ask = ask  # type: ignore[method-assign]


def test_any_number(segmenter: Segmenter, picture: Any) -> None:
    assert len(segmenter.in_boxes(picture, [])) == 0
    assert len(segmenter.at_points(picture, [])) == 0
    many = segmenter.in_boxes(picture, BOXES * AT_ONCE)
    assert len(many) == 2 * AT_ONCE
    assert many[-2:].areas().tolist() == pytest.approx(many[:2].areas().tolist(), abs=20)


def test_points_and_detections_through_a_model(
    segmenter: Segmenter, picture: Any, loaded: Any
) -> None:
    masks = segmenter.at_points(picture, [[30, 40], [100, 50]])
    scene = loaded.encode(picture, masks=masks)
    assert scene.masks == masks
    found = loaded.encode(picture, BOXES).detect(["cat"], threshold=0.0)
    cut = segmenter.segment(picture, found)
    assert cut.masks is not None
    assert np.array_equal(cut.boxes, found.boxes)
    drawn, plain = draw(picture, cut), draw(picture, found)
    assert np.asarray(drawn).shape == np.asarray(plain).shape
    assert (np.asarray(drawn) != np.asarray(plain)).any()
    assert segmenter.segment(picture, Detections.empty((100, 130))).masks is not None


def test_bad_prompts(segmenter: Segmenter, picture: Any) -> None:
    with pytest.raises(BoxError, match="outside"):
        segmenter.in_boxes(picture, [[500, 0, 600, 5]])
    with pytest.raises(InputError, match="points row 1"):
        segmenter.at_points(picture, [[1, 1], [500, 1]])
    with pytest.raises(InputError, match="detections are for"):
        segmenter.segment(picture, Detections.empty((9, 9)))
