"""Boxes on the maps that regions are seen with: found once, in the right frame, in turns."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fo1 import FO1
from fo1.errors import InputError
from fo1.geometry import box_iou
from fo1.models import FO1ForConditionalGeneration, FO1Processor, LightEncoderConfig
from fo1.models.light_encoder import LightEncoder
from fo1.models.nanodet import FRAME, decode
from fo1.models.objectness import STRIDES, ObjectnessHead, cell_centres
from fo1.pipeline.engine import Engine
from fo1.pipeline.loading import packaged_folder
from fo1.proposals.base import take_turns
from fo1.proposals.own import OwnProposer
from tests import tiny
from tests.recipes import importing

SIZES = [(640, 480), (300, 900), (41, 33), (2300, 500)]


@pytest.fixture(scope="module")
def processor() -> FO1Processor:
    return FO1Processor.from_pretrained(packaged_folder())


@pytest.fixture(scope="module")
def encoder() -> LightEncoder:
    """The packaged encoders with an objectness head, of which some weights are drawn."""
    model = FO1ForConditionalGeneration.from_pretrained(packaged_folder())
    packaged = model.region_encoder.auxiliary
    config = LightEncoderConfig.from_dict(packaged.config.to_dict() | {"objectness_width": 16})
    made = LightEncoder(config).eval()
    made.load_state_dict(packaged.state_dict(), strict=False)
    torch.manual_seed(0)
    for parameter in made.objectness.predict.parameters():  # type: ignore[union-attr]
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture(scope="module")
def model(encoder: LightEncoder) -> FO1:
    loaded = FO1.from_pretrained(device="cpu")
    loaded.engine.model.region_encoder.auxiliary = encoder
    return FO1(loaded.engine, packaged_folder())


@pytest.mark.parametrize("size", SIZES)
def test_boxes_lie_in_the_picture_best_first_of_both_sources_in_turns(
    encoder: LightEncoder, processor: FO1Processor, size: tuple[int, int]
) -> None:
    picture = tiny.picture(*size, seed=3)
    found = OwnProposer(encoder, processor, limit=40).propose(picture)
    assert 2 <= len(found) <= 40
    assert found.source == "own"
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= size).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    alone = []
    for part in ("detector", "objectness"):
        kept = LightEncoder(encoder.config).eval()
        kept.load_state_dict(encoder.state_dict())
        setattr(kept, "objectness" if part == "detector" else "detector", None)
        alone.append(OwnProposer(kept, processor, limit=80).propose(picture))
    joined = take_turns(alone)
    boxes, scores = joined.boxes, joined.scores
    for ours, score in zip(found.boxes, found.scores, strict=True):
        place = int(box_iou(ours[None], boxes)[0].argmax())
        np.testing.assert_allclose(boxes[place], ours, atol=0.5)
        assert scores[place] == pytest.approx(float(score), abs=1e-5)


def test_boxes_of_the_detector_are_those_of_its_own_frame(
    encoder: LightEncoder, processor: FO1Processor
) -> None:
    pixels = processor.auxiliary_pixels(tiny.picture(640, 480, seed=1))[None]
    with torch.no_grad():
        boxes, scores = encoder.find(encoder(pixels))[0]
        resized = torch.nn.functional.interpolate(
            pixels, (320, FRAME), mode="bilinear", antialias=True, align_corners=False
        )
        mean, std = (
            torch.tensor(v)[:, None, None]
            for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        )
        assert encoder.detector is not None
        theirs, chances = decode(encoder.detector((resized * 128 + 127 - mean) / std))
    torch.testing.assert_close(scores, chances[0].amax(-1), atol=1e-4, rtol=1e-3)
    scale = torch.tensor([640 / FRAME, 480 / 320] * 2)
    torch.testing.assert_close(boxes, theirs[0] * scale, atol=0.05, rtol=1e-3)


def test_the_encoder_runs_once_for_boxes_and_regions(model: FO1) -> None:
    calls: list[int] = []
    handle = model.engine.model.region_encoder.auxiliary.classifier.register_forward_hook(
        lambda *_: calls.append(1)
    )
    picture = tiny.picture(320, 240, seed=2)
    scene = model.encode(picture, limit=20)
    sides = len(model.engine.model.region_encoder.auxiliary.config.sides)
    assert len(calls) == sides
    assert scene.proposer == "own"
    assert scene.proposed
    again = model.encode(scene, limit=10)
    assert len(calls) == sides
    np.testing.assert_array_equal(again.regions, scene.regions[: len(again.regions)])
    handle.remove()
    proposals = model.propose(picture, limit=20)
    np.testing.assert_allclose(proposals.boxes, scene.regions)
    np.testing.assert_allclose(
        model.get_proposer("own").propose(picture).boxes[:20], scene.regions, atol=1e-3
    )


def test_boxes_found_again_after_their_maps_were_forgotten(model: FO1) -> None:
    scene = model.encode(tiny.picture(320, 240, seed=2), limit=20)
    before = scene.scores(["cat"])
    model.engine.memory.forget(scene.tensors.picture)
    again = model.encode(scene, limit=20)
    np.testing.assert_array_equal(again.regions, scene.regions)
    np.testing.assert_allclose(again.scores(["cat"]), before, atol=1e-5)


def test_a_model_that_finds_no_boxes(processor: FO1Processor) -> None:
    bare = LightEncoder(LightEncoderConfig(coco_classes=0))
    with pytest.raises(InputError, match="finds no boxes of its own"):
        OwnProposer(bare, processor)
    engine = Engine("tiny", tiny.make_model(), tiny.make_processor())
    other = FO1(engine, packaged_folder(), proposer="own")
    with pytest.raises(InputError, match="finds no boxes of its own"):
        other.encode(Image.new("RGB", (40, 40)))


def test_cells_stand_where_their_convolutions_look() -> None:
    centres, strides = cell_centres(((4, 6), (2, 3), (1, 2)), torch.device("cpu"))
    assert centres[1].tolist() == [1.5 * 8 + 3.5, 0.5 * 8 + 3.5]
    assert centres[-1].tolist() == [1.5 * 32 + 15.5, 0.5 * 32 + 15.5]
    assert strides.tolist() == [8] * 24 + [16] * 6 + [32] * 2


def test_a_head_learns_where_a_thing_is(recipe: Any) -> None:
    """On maps that show one thing, by the recipe's own losses."""
    torch.manual_seed(0)
    boxes = torch.tensor([[40.0, 24.0, 130.0, 100.0]])
    maps = []
    for channels, stride in zip((4, 6, 8), STRIDES, strict=True):
        own = torch.rand(1, channels, 160 // stride, 192 // stride)
        cells = (boxes[0] / stride).round().int().tolist()
        own[0, 0, cells[1] : cells[3], cells[0] : cells[2]] += 3
        maps.append(own)
    head = ObjectnessHead((4, 6, 8), width=16)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        recipe.losses_of(head, tuple(maps), boxes).backward()
        optimizer.step()
    logits, found = head(tuple(maps))
    best = found[0, logits[0].argmax()][None].detach().numpy()
    assert box_iou(best, boxes.numpy())[0, 0] > 0.8
    assert logits[0].sigmoid().max() > 0.5
    assert logits[0].sigmoid().median() < 0.1


def test_every_thing_has_a_cell_and_the_smaller_one_wins(recipe: Any) -> None:
    centres, strides = cell_centres(((40, 40), (20, 20), (10, 10)), torch.device("cpu"))
    boxes = torch.tensor(
        [[0.0, 0, 320, 320], [100, 100, 110, 109], [60, 60, 150, 150], [200, 200, 260, 230]]
    )
    owner = recipe.assign(boxes, centres, strides)
    assert set(owner.tolist()) == {-1, 0, 1, 2, 3}
    assert set(strides[owner == 1].tolist()) == {8}
    assert set(strides[owner == 0].tolist()) == {32.0}
    for number, box in enumerate(boxes):
        inside = centres[owner == number]
        assert ((inside > box[:2]) & (inside < box[2:])).all()


@pytest.fixture
def recipe() -> Iterator[Any]:
    with importing("nano"):
        yield importlib.import_module("train_objectness")
