"""Describing given regions: RefCOCOg and Visual Genome.

RefCOCOg lies as `refer_files` says. Visual Genome is one of these, the first that is there:

    data/test_caption.json           GLaMM's part of the test split, or
    data/test.json                   GRiT's test split: {"images": [{"id", "file_name", ...}],
                                     "annotations": [{"id", "image_id", "bbox", "caption"}]}
    data/region_descriptions.json    all of it: [{"id", "regions": [{"region_id", "phrase", "x", "y",
    data/densecap_splits.json        "width", "height"}]}], and {"test": [image ids], ...}
    data/VG_100K/*.jpg, data/VG_100K_2/*.jpg

Sources: mbzuai-oryx/groundingLMM, eval/region_captioning (files, COCO form); JialianW/GRiT and
OpenGVLab/VisionLLM (which files); jcjohnson/densecap, preprocess.py (splits); the data readme of
Visual Genome (region_descriptions.json).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeAlias

from fo1.errors import InputError
from fo1.evaluation.example import Example
from fo1.evaluation.formats.refer import Referred, read_refer
from fo1.evaluation.metrics.captions import CaptionScorer
from fo1.evaluation.metrics.coco_caption import Tokens
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.text import word_iou
from fo1.evaluation.report import Table
from fo1.evaluation.task import Figure, Predictions
from fo1.evaluation.tasks.refcoco import REFCOCOG, ask
from fo1.evaluation.tasks.region_task import RegionTask
from fo1.formats.region_rows import (
    Box,
    Region,
    find_picture,
    gather,
    read_json,
    take,
    words,
    xywh,
)

Sentences: TypeAlias = tuple[str, ...]
_Object: TypeAlias = tuple[Example[Referred], tuple[float, ...], list[str]]
"""An object of a picture: what was read about the picture, its box and its expressions."""
_Read: TypeAlias = tuple[int | str, str, int | str, str, Box]
"""Number and file name of a picture, key, sentence and box of a region."""

COCO_FORM = ("test_caption.json", "test.json")
REGIONS, SPLITS = "region_descriptions.json", "densecap_splits.json"
FOLDERS = ("VG_100K", "VG_100K_2", "images")


@dataclass(frozen=True, kw_only=True)
class _Captions(RegionTask[Sentences]):
    """Regions whose truth is what people wrote about them."""

    def answer(self, truth: Sentences) -> str:
        """Return the first of the references."""
        return truth[0]

    def mark(self, truth: Sentences, text: str) -> float:
        """Return the words shared with the reference that is most alike."""
        return max(word_iou(text, sentence) for sentence in truth)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return CIDEr times 100, as it is usually printed, METEOR, and what a set adds to them."""
        captions = self._scorer.tokens(self.texts(predictions))
        return [
            Figure("CIDEr", self._scorer.cider(captions, weights), ""),
            Figure("METEOR", self._scorer.meteor(captions, weights)),
            *self._further(captions, weights),
        ]

    def _further(self, captions: Sequence[Tokens], weights: Floats) -> list[Figure]:
        return []

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return what of the caption scorers is missing on this machine, if anything is."""
        notes = self._scorer.notes
        table = Table("Caption scorers", ("what is missing",))
        for number, note in enumerate(notes, 1):
            table.add(str(number), note)
        return [table] if notes else []

    @cached_property
    def _scorer(self) -> CaptionScorer:
        return CaptionScorer(self.truths, self.region_pictures)


class RefCocoGCaption(_Captions):
    """The objects of RefCOCOg val (umd split), each with all its expressions as references."""

    name = "refcocog-caption"
    title = "RefCOCOg val: describing given boxes"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from the folder of the RefCOCO family."""
        read = read_refer(data, REFCOCOG, "val", ask)
        rows: list[tuple[str, _Object]] = []
        for example in read.examples:
            meant: dict[tuple[float, ...], list[str]] = {}
            for text, target in zip(example.truth.texts, example.truth.targets, strict=True):
                meant.setdefault(tuple(target[0].tolist()), []).append(" ".join(text.split()))
            rows += [
                (f"{example.key}/{at}", (example, *one)) for at, one in enumerate(meant.items())
            ]
        regions, broken = gather(rows, _referred_object)
        return cls(
            examples=cls.by_picture(regions), broken=(*read.broken, *broken), files=read.files
        )

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what people reach: the first expression of an object by its other ones."""
        people = Figure("CIDEr", self._scorer.others(weights), "")
        return {"people: first expression by the others": [people]}

    def _further(self, captions: Sequence[Tokens], weights: Floats) -> list[Figure]:
        """Return CIDEr as others measure it, where each expression is an item of its own."""
        return [Figure("CIDEr, one reference", self._scorer.cider_apart(captions, weights), "")]


class VisualGenomeCaption(_Captions):
    """The regions of Visual Genome's test split, each with its one phrase."""

    name = "vg-caption"
    title = "Visual Genome: describing given boxes"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from its folder, or from one of its files beside the pictures."""
        names = (*COCO_FORM, REGIONS)
        places = [data] if data.is_file() else [data / name for name in names]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise InputError(f"{places[0]} is missing; --data is the folder of {', '.join(names)}")
        content = read_json(path)
        files = (path,)
        if isinstance(content, dict):
            rows, read = _coco_rows(path, content), _coco_region
        elif isinstance(content, list):
            files = (path, path.parent / SPLITS)
            rows, read = _described_rows(content, _test_images(files[1])), _described_region
        else:
            raise InputError(f"{path} holds a {type(content).__name__}, expected a list or object")

        def parse(row: tuple[Any, Any]) -> Region[Sentences]:
            image_id, name, key, phrase, box = read(*row)
            picture = find_picture(path.parent, name, FOLDERS)
            return Region(str(key), picture, name, box, (phrase,), image_id)

        regions, broken = gather(rows, parse)
        return cls(examples=cls.by_picture(regions), broken=tuple(broken), files=files)


def _referred_object(row: _Object) -> Region[Sentences]:
    example, (x1, y1, x2, y2), sentences = row
    height, width = example.truth.size
    return Region(
        key=f"{example.key}/{x1:g} {y1:g} {x2:g} {y2:g}",
        picture=Path(str(example.image)),
        name=example.picture,
        box=xywh([x1, y1, x2 - x1, y2 - y1], {"width": width, "height": height}),
        truth=tuple(sentences),
        image_id=example.image_id,
    )


def _coco_rows(path: Path, content: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Return (name for errors, (picture, annotation)) of every region of a file in COCO's form."""
    try:
        images, annotations = take(content, "images", list), take(content, "annotations", list)
    except InputError as error:
        raise InputError(f"{path}: {error}; expected images and annotations") from error
    known = {str(image.get("id")): image for image in images if isinstance(image, dict)}
    return (
        (f"annotation {place}", (known.get(str(row.get("image_id"))), row))
        if isinstance(row, dict)
        else (f"annotation {place}", (None, row))
        for place, row in enumerate(annotations)
    )


def _coco_region(image: Any, row: Any) -> _Read:
    image_id, key = take(row, "image_id", int, str), take(row, "id", int, str)
    if image is None:
        raise InputError(f"image {image_id} is not among the images")
    box = xywh(take(row, "bbox", list), image)
    return image_id, take(image, "file_name", str), key, words(row, "caption"), box


def _test_images(path: Path) -> set[int]:
    """Return the numbers of the pictures of densecap's test split."""
    try:
        return set(take(read_json(path), "test", list))
    except TypeError as error:
        raise InputError(f"{path}: 'test' holds more than numbers of pictures") from error


def _described_rows(content: list[Any], test: set[int]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield (name for errors, (number of the picture, region)) of the test split."""
    for place, entry in enumerate(content):
        try:
            image_id = _number(entry, "image_id", "id")
            regions = take(entry, "regions", list) if image_id in test else []
        except InputError as error:
            yield f"entry {place}", (None, error)
            continue
        for number, region in enumerate(regions):
            yield f"image {image_id}, region {number}", (image_id, region)


def _described_region(image_id: Any, row: Any) -> _Read:
    if image_id is None:
        raise InputError(str(row))
    key = _number(row, "region_id", "id")
    box = [take(row, side, int, float) for side in ("x", "y", "width", "height")]
    return image_id, f"{image_id}.jpg", key, words(row, "phrase"), xywh(box)


def _number(row: Any, *names: str) -> int:
    """Return the number that goes by one of these names; the data set's versions differ in it."""
    present = [name for name in names if isinstance(row, dict) and name in row]
    return take(row, (present or names)[0], int)
