"""Detections as rows of a COCO file, with their masks as run lengths or polygons where they have some."""

from collections.abc import Mapping
from typing import Any

from fo1.errors import InputError
from fo1.geometry import box_area, xyxy_to_xywh
from fo1.results import Detections


def coco_rows(
    detections: Detections,
    image_id: int,
    categories: Mapping[str, int],
    *,
    first_id: int = 1,
    polygons: bool = False,
) -> list[dict[str, Any]]:
    """Return one annotation per detection, in pixels; `score` makes them results as well.

    Args:
        detections: of one picture.
        image_id: the picture's.
        categories: id by label.
        first_id: id of the first row; the others count on.
        polygons: write masks as polygons along the edges of their pixels, which people can edit, not as run lengths.

    Raises:
        InputError: a label has no category.
    """
    unknown = [label for label in detections.labels if label not in categories]
    if unknown:
        raise InputError(f"label '{unknown[0]}' has no category id; give one for each label")
    areas = box_area(detections.boxes).tolist()
    shapes: list[Any] = []
    if detections.masks is not None:
        areas = detections.masks.areas().tolist()
        shapes = detections.masks.to_polygons() if polygons else list(detections.masks.to_rle())
    rows = [
        {
            "id": first_id + place,
            "image_id": image_id,
            "category_id": categories[label],
            "bbox": [round(side, 2) for side in box],
            "area": area,
            "iscrowd": 0,
            "score": round(score, 4),
        }
        for place, (label, box, area, score) in enumerate(
            zip(
                detections.labels,
                xyxy_to_xywh(detections.boxes).tolist(),
                areas,
                detections.scores.tolist(),
                strict=True,
            )
        )
    ]
    for row, shape in zip(rows, shapes, strict=False):
        row["segmentation"] = shape
    return rows
