"""One picture's result, ready for JSON: the same on the command line and from the server."""

from collections.abc import Mapping
from typing import Any

from fo1.pipeline.request import EncodedScene, Outcome
from fo1.prompts import Task


def json_row(
    image: str, task: Task, scene: EncodedScene, outcome: Outcome, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the row of a picture; boxes in pixels of the original picture, two decimals.

    Args:
        image: what it is called.
        task: what was asked.
        scene: the picture.
        outcome: what came back.
        seconds: time that its steps took, by name.
    """
    height, width = scene.image_size
    return {
        "image": image,
        "width": width,
        "height": height,
        "model": scene.engine.name,
        "proposer": scene.proposer,
        "task": str(task),
        "regions": json_boxes(scene),
        "detections": outcome.detections.to_dicts(),
        "texts": [{"region": said.region, "text": said.text} for said in outcome.texts],
        "text": outcome.text,
        "count": outcome.count,
        "problems": list(outcome.problems),
        "seconds": json_seconds(seconds),
    }


def json_boxes(scene: EncodedScene) -> list[list[float]]:
    """Return the regions of a scene, xyxy pixels to 2 decimals."""
    return [[round(float(side), 2) for side in box] for box in scene.regions]


def json_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return times by name, to 4 decimals."""
    return {name: round(value, 4) for name, value in seconds.items()}
