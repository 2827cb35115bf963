"""Detections as COCO writes them, read back by its own tools."""

import json
from pathlib import Path

import numpy as np
import pytest

from fo1 import Detections, InputError
from fo1.formats.coco import read_coco
from fo1.formats.coco_results import coco_rows
from fo1.masks import Masks


def detections() -> Detections:
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 2:12, 3:17] = True
    masks[0, 4:8, 6:9] = False  # a hole
    masks[1, 5:19, 10:29] = True
    masks[1, 5:12, 10:20] = False  # an L
    own = Masks.from_array(masks)
    return Detections(own.boxes(), ("cup", "cat"), [0.91, 0.5], [0, 1], (20, 30), masks=own)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("polygons", [False, True])
def test_other_tools_read_the_masks(polygons: bool, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    found = detections()
    rows = coco_rows(found, 7, {"cat": 1, "cup": 2}, first_id=5, polygons=polygons)
    table = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cup"}],
        "annotations": rows,
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(table))
    theirs = coco.COCO(str(file))
    for row, mask in zip(rows, found.masks.to_array(), strict=True):
        read = theirs.annToMask(theirs.loadAnns(row["id"])[0]).astype(bool)
        shared = (read & mask).sum() / (read | mask).sum()
        assert (
            shared == 1 if not polygons else shared > 0.9
        )  # it fills polygons by a rule of its own
        assert row["area"] == mask.sum()
    assert [row["id"] for row in rows] == [5, 6]
    ours = read_coco(file).boxes[7]
    assert [one.name for one in ours] == ["cup", "cat"]
    assert [list(one.box) for one in ours] == found.boxes.tolist()


def test_without_masks_there_are_boxes_alone() -> None:
    found = detections()
    bare = Detections(found.boxes, found.labels, found.scores, found.regions, found.image_size)
    (row, _) = coco_rows(bare, 1, {"cat": 1, "cup": 2})
    assert "segmentation" not in row
    assert row["bbox"] == [3, 2, 14, 10]
    assert row["area"] == 140
    with pytest.raises(InputError, match="label 'cup' has no category"):
        coco_rows(found, 1, {"cat": 1})
