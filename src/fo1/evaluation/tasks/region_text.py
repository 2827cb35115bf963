"""Reading given regions: the words of COCO-Text.

    data/cocotext.v2.json      {"imgs": {"540965": {"id", "file_name", "set", "width", "height"}},
                                "anns": {"45346": {"id", "image_id", "bbox": [x, y, w, h],
                                         "utf8_string", "legibility", "language", "class"}}}
    data/train2014/COCO_train2014_*.jpg

Source: andreasveit/coco-text, coco_text.py, and open-mmlab/mmocr,
tools/data/textrecog/cocotext_converter.py (keys and values of version 2).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.text import edit_similarity, plain_characters
from fo1.evaluation.task import Figure, Predictions
from fo1.evaluation.tasks.region_task import RegionTask
from fo1.formats.region_rows import (
    Region,
    find_picture,
    gather,
    read_json,
    take,
    words,
    xywh,
)
from fo1.prompts import Task

FILE = "cocotext.v2.json"
FOLDERS = ("train2014", "coco/train2014", "images/train2014", "imgs")
CLASSES = ("machine printed", "handwritten")


@dataclass(frozen=True, kw_only=True)
class CocoText(RegionTask[str]):
    """Legible English words of COCO-Text val, printed or written by hand."""

    name = "coco-text"
    title = "COCO-Text: reading given boxes"
    verb = Task.READ

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from its folder, or from its file beside the pictures."""
        path = data if data.is_file() else data / FILE
        content = read_json(path)
        try:
            images, rows = take(content, "imgs", dict), take(content, "anns", dict)
        except InputError as error:
            raise InputError(f"{path}: {error}; expected COCO-Text with imgs and anns") from error

        def parse(row: Any) -> Region[str] | None:
            image_id = take(row, "image_id", int)
            image = images.get(str(image_id))
            if image is None:
                raise InputError(f"image {image_id} is not among imgs")
            if take(image, "set", str) != "val" or not _is_asked(row):
                return None
            if row.get("utf8_string") == "":
                return None
            name = take(image, "file_name", str)
            return Region(
                key=str(take(row, "id", int)),
                picture=find_picture(path.parent, name, FOLDERS),
                name=name,
                box=xywh(take(row, "bbox", list), image),
                truth=words(row, "utf8_string"),
                image_id=image_id,
            )

        regions, broken = gather(((f"annotation {key}", row) for key, row in rows.items()), parse)
        return cls(examples=cls.by_picture(regions), broken=tuple(broken), files=(path,))

    def answer(self, truth: str) -> str:
        """Return the word itself."""
        return truth

    def mark(self, truth: str, text: str) -> float:
        """Return how alike the letters and digits are: 1-NED, 0 for no answer."""
        said = plain_characters(text)
        return edit_similarity(said, plain_characters(truth)) if said else 0.0

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the shares of words that are right by their letters, and exactly; then 1-NED."""
        pairs = list(zip(self.truths, self.texts(predictions), strict=True))
        right = [plain_characters(text) == plain_characters(truth) for truth, text in pairs]
        exact = [" ".join(text.split()) == truth for truth, text in pairs]
        alike = [self.mark(truth, text) for truth, text in pairs]
        return [
            Figure("accuracy", self.mean(right, weights)),
            Figure("exact", self.mean(exact, weights)),
            Figure("1-NED", self.mean(alike, weights)),
        ]


def _is_asked(row: Any) -> bool:
    """Return whether a text is legible, English, and printed or written by hand."""
    return (
        take(row, "legibility", str) == "legible"
        and take(row, "language", str) == "english"
        and take(row, "class", str) in CLASSES
    )
