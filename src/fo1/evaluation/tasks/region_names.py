"""Naming given regions: objects of LVIS, objects and parts of PACO.

    data/lvis_val_1k_category.json          one list, an entry per picture: {"id", "file_name",
                                            "height", "width", "categories": [name, ...],
                                            "annotations": [{"bbox": [x, y, w, h], ...}, ...]}
    data/val2017/*.jpg, data/train2017/*.jpg   pictures of COCO

Source: CircleRadon/Osprey, osprey/eval/lvis_paco_eval.py (protocol, figures, keys);
OpenGVLab/VisionLLM (the same with boxes).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.sentence_similarity import SentenceEncoder, find_sentence_model
from fo1.evaluation.metrics.text import clean_answer, clean_category, word_iou
from fo1.evaluation.report import Table
from fo1.evaluation.task import Figure, Predictions
from fo1.evaluation.tasks.region_task import RegionTask
from fo1.formats.limits import check_length
from fo1.formats.region_rows import Region, find_picture, gather, read_json, take, xywh

FOLDERS = ("val2017", "train2017", "coco/val2017", "coco/train2017")


@dataclass(frozen=True, kw_only=True)
class _RegionNames(RegionTask[str]):
    """A set of regions whose truth is the name of their category, as in the file."""

    file: ClassVar[str]

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from its folder, or from its file beside the pictures."""
        path = data if data.is_file() else data / cls.file
        content = read_json(path)
        if not isinstance(content, list):
            found = type(content).__name__
            raise InputError(f"{path} holds a {found}, expected a list with one entry per picture")

        def parse(row: tuple[Any, int, Any, Any]) -> Region[str]:
            image, number, category, annotation = row
            _lists(image)
            name, image_id = take(image, "file_name", str), take(image, "id", int, str)
            if not isinstance(category, str) or not clean_category(category).strip():
                raise InputError(f"the category is {str(category)[:60]!r}, expected a name")
            check_length(category, "the category")
            return Region(
                key=f"{image_id}/{number}",
                picture=find_picture(path.parent, name, FOLDERS),
                name=name,
                box=xywh(take(annotation, "bbox", list), image),
                truth=category,
                image_id=image_id,
            )

        regions, broken = gather(_rows(content), parse)
        return cls(examples=cls.by_picture(regions), broken=tuple(broken), files=(path,))

    def answer(self, truth: str) -> str:
        """Return the name of the category in plain words."""
        return clean_category(truth)

    def mark(self, truth: str, text: str) -> float:
        """Return S-IoU."""
        return word_iou(clean_answer(text), clean_category(truth))

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return SS, NaN without the sentence model, and S-IoU."""
        texts, truths = self.texts(predictions), self.truths
        words = [self.mark(truth, text) for truth, text in zip(truths, texts, strict=True)]
        similar = np.full(len(weights), np.nan)
        if isinstance(self._encoder, SentenceEncoder):
            pairs = [clean_answer(text) for text in texts], [clean_category(t) for t in truths]
            similar = self.mean(self._encoder.similarity(*pairs), weights)
        return [Figure("SS", similar), Figure("S-IoU", self.mean(words, weights))]

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return why there is no SS, if so."""
        if isinstance(self._encoder, SentenceEncoder):
            return []
        table = Table("SS was not measured", ("reason and cure",))
        table.add("SS", self._encoder)
        return [table]

    @cached_property
    def _encoder(self) -> SentenceEncoder | str:
        """The sentence model, or why there is none."""
        try:
            return SentenceEncoder(find_sentence_model())
        except InputError as error:
            return str(error)


class LvisRegions(_RegionNames):
    """Osprey's 4004 objects in 1000 pictures of LVIS val."""

    name = "lvis-regions"
    title = "LVIS regions: naming given boxes"
    file = "lvis_val_1k_category.json"


class PacoRegions(_RegionNames):
    """Osprey's 4263 objects and parts in 1000 pictures of PACO val; a part is "object:part"."""

    name = "paco-regions"
    title = "PACO regions: naming given boxes of objects and parts"
    file = "paco_val_1k_category.json"


def _rows(content: list[Any]) -> Iterator[tuple[str, tuple[Any, int, Any, Any]]]:
    """Yield every region as (name for errors, (picture, number, category, annotation))."""
    for place, image in enumerate(content):
        try:
            pairs = list(zip_longest(*_lists(image)))
        except InputError:
            pairs = [(None, None)]  # told when it is parsed
        for number, pair in enumerate(pairs):
            yield f"entry {place}, region {number}", (image, number, *pair)


def _lists(image: Any) -> tuple[list[Any], list[Any]]:
    return take(image, "categories", list), take(image, "annotations", list)
