"""Masks and points as regions of a scene."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fo1 import FO1, InputError, Proposals
from fo1.pipeline.regions import boxes_at
from tests import tiny

WIDTH, HEIGHT = 140, 112
BOX = [20, 30, 100, 90]


@pytest.fixture(scope="module")
def picture() -> Any:
    return tiny.picture(WIDTH, HEIGHT)


def mask_of(box: list[int], without: list[int] | None = None) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = True
    if without:
        x1, y1, x2, y2 = without
        mask[y1:y2, x1:x2] = False
    return mask


def features(scene: Any) -> torch.Tensor:
    return scene.tensors.regions.features


L_SHAPE = mask_of(BOX, without=[60, 60, 100, 90])


def test_a_box_shaped_mask_is_its_box_and_an_l_is_not(loaded: FO1, picture: Any) -> None:
    box = loaded.encode(picture, [BOX, BOX])
    assert box.masks is None
    masked = loaded.encode(picture, masks=np.stack([mask_of(BOX), L_SHAPE]))
    assert masked.regions.tolist() == box.regions.tolist()
    torch.testing.assert_close(features(masked)[0], features(box)[0], atol=2e-5, rtol=1e-5)
    assert (features(masked)[1] - features(box)[1]).abs().max() > 1e-2
    assert (masked.proposer, masked.proposed) == ("given", False)
    whole = np.ones((HEIGHT, WIDTH), bool)  # with edges between pixels and beyond the picture
    for odd in ([20.3, 29.7, 101.4, 88.8], [-7, 4.5, 30.2, 150], [30, 30, 30, 60]):
        plain, under = loaded.encode(picture, [odd]), loaded.encode(picture, [odd], masks=[whole])
        torch.testing.assert_close(features(under), features(plain), atol=2e-5, rtol=1e-5)


def test_no_masks_are_no_regions(picture: Any) -> None:
    none = np.zeros((0, HEIGHT, WIDTH), bool)
    assert len(FO1.from_pretrained().encode(picture, masks=none)) == 0
    with pytest.raises(InputError, match="of a picture's size"):
        FO1.from_pretrained().encode(picture, masks=np.zeros((1, 0, 0), bool))


@pytest.mark.parametrize("confidence", [None, np.float32([0.5])])
def test_masks_of_supervision_count(confidence: Any, loaded: FO1, picture: Any) -> None:
    found = SimpleNamespace(
        xyxy=np.float32([BOX]), confidence=confidence, class_id=None, data={}, mask=L_SHAPE[None]
    )
    scene = loaded.encode(picture, found)
    same = loaded.encode(picture, [BOX], masks=[L_SHAPE])
    assert torch.equal(features(scene), features(same))
    assert scene.masks == same.masks
    assert scene.proposed == (confidence is not None)
    plain = loaded.encode(picture, SimpleNamespace(**{**vars(found), "mask": None}))
    assert plain.masks is None


def test_a_region_does_not_see_what_its_mask_leaves_out(loaded: FO1, picture: Any) -> None:
    """The classifier of the light encoder sees far, so pooling is asked at the maps themselves."""
    engine = loaded.engine
    scene = loaded.encode(picture, masks=[L_SHAPE])
    maps = engine.maps(scene.tensors.picture)
    (levels,), host = maps.levels, maps.host.maps[0]
    encoder = engine.model.region_encoder
    auxiliary, seen = engine.processor.place((HEIGHT, WIDTH), scene.regions, host.frame)
    covered = torch.from_numpy(scene.masks.over(scene.regions))
    before = encoder.pool_host(levels, seen, host, covered)
    corner = seen.clone()
    corner[:, :2] = (seen[:, :2] + seen[:, 2:]) / 2
    x1, y1, x2, y2 = (corner[0] / 3.5).tolist()
    finest = levels[0].clone()
    finest[:, int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1] += 100
    changed = (finest, *levels[1:])
    torch.testing.assert_close(encoder.pool_host(changed, seen, host, covered), before)
    assert (encoder.pool_host(changed, seen, host) - before).abs().max() > 1
    assert len(auxiliary) == 1


def test_masks_reach_detections_and_other_regions_do_not_keep_them(
    loaded: FO1, picture: Any
) -> None:
    scene = loaded.encode(picture, masks=np.stack([mask_of(BOX), L_SHAPE]))
    found = scene.detect(["cat"], threshold=0.0)
    assert len(found) == 2
    assert found.masks == scene.masks[found.regions]
    assert all("mask" in row for row in found.to_dicts())
    other = loaded.encode(scene, [BOX])
    assert other.masks is None
    assert other.detect(["cat"], threshold=0.0).masks is None
    again = loaded.encode(other, masks=scene.masks)
    assert torch.equal(features(again), features(scene))


def test_points_take_the_smallest_box_around_them(loaded: FO1, picture: Any) -> None:
    scene = loaded.encode(picture, points=[[10, 10], [70, 56], [10, 10]])
    assert len(scene) == 3
    assert not scene.proposed
    assert scene.regions[0].tolist() == scene.regions[2].tolist()
    for (x, y), box in zip([(10, 10), (70, 56)], scene.regions, strict=False):
        assert box[0] <= x <= box[2]
        assert box[1] <= y <= box[3]
        around = [
            (b[2] - b[0]) * (b[3] - b[1])
            for b in loaded.propose(picture).boxes
            if b[0] <= x <= b[2] and b[1] <= y <= b[3]
        ]
        assert (box[2] - box[0]) * (box[3] - box[1]) == min(around)


def test_of_equal_boxes_at_a_point_the_best_is_taken() -> None:
    boxes = [[0, 0, 50, 50], [10, 10, 30, 30], [12, 12, 32, 32], [0, 0, 9, 9]]
    proposals = Proposals(boxes, [0.9, 0.2, 0.4, 0.8], "mine")
    chosen = boxes_at([[20, 20], [5, 5], [31, 31], [40, 40]], proposals, (60, 60))
    assert chosen.boxes.tolist() == [boxes[2], boxes[3], boxes[2], boxes[0]]
    assert chosen.scores.tolist() == pytest.approx([0.4, 0.8, 0.4, 0.9])
    assert len(boxes_at([], proposals, (60, 60))) == 0
    assert len(boxes_at([], Proposals.empty(), (60, 60))) == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"masks": [L_SHAPE], "boxes": [BOX, BOX]}, "got 2 boxes but 1 masks"),
        ({"masks": [L_SHAPE], "boxes": [[101, 10, 120, 20]]}, "mask 0 covers nothing of its box"),
        ({"masks": [L_SHAPE & False]}, "row 0: it covers no pixel"),
        ({"masks": [L_SHAPE.T]}, "got shape (140, 112), need (112, 140)"),
        ({"masks": [L_SHAPE], "proposer": "grid"}, "got masks and a proposer"),
        ({"masks": [L_SHAPE], "points": [[1, 1]]}, "got points and other regions"),
        ({"boxes": [BOX], "points": [[1, 1]]}, "got points and other regions"),
        ({"points": [[150, 1]]}, "points row 0: (150, 1) lies outside"),
        ({"points": [[1, 1], [1, float("nan")]]}, "points row 1"),
        ({"points": [1, 2]}, "shape (2,)"),
        ({"points": "here"}, "cannot read a str"),
        ({"points": [[1, 2, 3]]}, "need (P, 2)"),
        ({"points": [[1, 1]], "proposer": "none"}, "none of 0 proposed boxes holds (1, 1)"),
    ],
)
def test_what_is_no_region(given: dict[str, Any], words: str, loaded: FO1, picture: Any) -> None:
    with pytest.raises(InputError) as caught:
        loaded.encode(picture, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nano_pools_under_masks_as_well(picture: Any) -> None:
    nano = FO1.from_pretrained()
    box = nano.encode(picture, [BOX])
    whole, part = (nano.encode(picture, masks=[m]) for m in (mask_of(BOX), L_SHAPE))
    torch.testing.assert_close(features(whole), features(box), atol=1e-3, rtol=1e-3)
    assert (features(part) - features(box)).abs().max() > 0.05
    rim = mask_of(
        BOX, without=[30, 40, 90, 80]
    )  # nothing in the middle, where the detector is asked
    assert features(nano.encode(picture, masks=[rim])).isfinite().all()
