"""Annotated photographs: COCO JSON with referring expressions, counts and absent names besides."""

import json
from dataclasses import dataclass
from pathlib import Path

from fo1.errors import InputError
from fo1.geometry import Boxes, Size, xywh_to_xyxy


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One photograph and what is known about it.

    Attributes:
        identity: its number in the file.
        path: the picture.
        image_size: (height, width).
        boxes: (N, 4) float32 xyxy pixels, without regions to ignore.
        labels: N names.
        absent: names of things that are not there.
        referring: (expression, row of `boxes` that it means).
        counting: (name, how many).
    """

    identity: int
    path: Path
    image_size: Size
    boxes: Boxes
    labels: tuple[str, ...]
    absent: tuple[str, ...]
    referring: tuple[tuple[str, int], ...]
    counting: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photographs that are all asked for the same names.

    Attributes:
        photos: in the order of the file.
        vocabulary: what every photo is asked for.
        accepted: by name, the name and its synonyms.
    """

    photos: tuple[Photo, ...]
    vocabulary: tuple[str, ...]
    accepted: dict[str, tuple[str, ...]]


def load_photo_set(path: Path, pictures: Path | None = None) -> PhotoSet:
    """Return the photographs of a JSON file.

    Args:
        path: with the keys `vocabulary`, `images`, `categories`, `annotations`, `referring`,
            `counting` and `absent`.
        pictures: folder of the pictures; the file's own name without ending if not given.

    Raises:
        InputError: the file cannot be read, lacks a key, or a picture is not there.
    """
    try:
        content = json.loads(path.read_bytes())
        return _photo_set(content, path.with_suffix("") if pictures is None else pictures)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); give a photo set") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not a photo set ({reason}); see its documentation") from error


def _photo_set(content: dict, folder: Path) -> PhotoSet:
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    photos = []
    for image in content["images"]:
        identity, path = image["id"], folder / image["file_name"]
        if not path.is_file():
            raise InputError(f"picture {path} is missing; name its folder with --pictures")

        def of_image(key: str, identity: int = identity) -> list[dict]:
            return [entry for entry in content[key] if entry["image_id"] == identity]

        rows = [entry for entry in of_image("annotations") if not entry["iscrowd"]]
        place = {entry["id"]: row for row, entry in enumerate(rows)}
        photos.append(
            Photo(
                identity=identity,
                path=path,
                image_size=(image["height"], image["width"]),
                boxes=xywh_to_xyxy([entry["bbox"] for entry in rows]),
                labels=tuple(names[entry["category_id"]] for entry in rows),
                absent=tuple(name for entry in of_image("absent") for name in entry["names"]),
                referring=tuple(
                    (entry["expression"], place[entry["annotation_id"]])
                    for entry in of_image("referring")
                ),
                counting=tuple((e["noun"], e["answer"]) for e in of_image("counting")),
            )
        )
    accepted = {
        entry["name"]: (entry["name"], *entry.get("synonyms", ()))
        for entry in content["categories"]
    }
    return PhotoSet(tuple(photos), tuple(content["vocabulary"]), accepted)
