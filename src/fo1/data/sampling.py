"""Sampling: from what is known of a picture to what the model sees of it once.

    Record --draw_regions--> RegionSet --draw_language--> queries, dialogues --> Sample

Everything by chance comes from the generators that are passed, so sample i of a run is the same in every process and
after every restart. `regions` says which box is what, `targets` what a name means there,
`questions` what is asked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fo1.data.negatives import Vocabulary
from fo1.data.questions import GENERAL, Asker
from fo1.data.regions import NOBODY, RegionSet, draw_regions
from fo1.data.sample import Dialogue, Query, Sample
from fo1.data.schema import Record
from fo1.data.targets import Known
from fo1.errors import InputError
from fo1.ordering import ORDERS
from fo1.prompts import Task

Open = Callable[[int], Image.Image]
"""Returns picture i of a record, RGB, in its original size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How samples are drawn; every idea has its switch.

    Attributes:
        truth: share of the true boxes that are regions themselves; the others are found among the proposals.
        jitter: edges of those move by up to this share of the box's sides; 0 for exact boxes.
        proposals: whether the record's proposals are regions as well.
        distractors: boxes per picture that are no object.
        match: IoU from which a region may be an object's.
        miss: IoU under which a region is not the object.
        duplicate: IoU with a true box's region from which a proposal is dropped; above 1 for never.
        most_regions: per picture; true boxes stay, then the best proposals.
        fewer_regions: every other picture gets fewer, down to its true boxes, so that answers do not depend on how many
            boxes somebody gives.
        order: how regions are numbered, one of `fo1.ordering.ORDERS`; "any" is shuffled. Saved in the model's config.
        positives: names per sample that are there.
        negatives: names per sample that are not.
        expressions: referring expressions per sample.
        hard_negatives: prefer absent names that are easily taken for something there.
        synonyms: ask for things by any name that is true of them, not only their own.
        say_none: write that a name is absent; else it is left out of the answer, as in the published model.
        templates: several wordings of every question.
        scales: pictures are resized by a factor drawn from this range; None leaves them.
        dialogues: per sample.
        tasks: how often each is drawn, by the value of a `fo1.prompts.Task` or "general".
        variants: region sets of a record that are drawn before they repeat; None for ever new ones.
    """

    truth: float = 0.8
    jitter: float = 0.1
    proposals: bool = True
    distractors: int = 6
    match: float = 0.5
    miss: float = 0.3
    duplicate: float = 0.9
    most_regions: int = 100
    fewer_regions: bool = True
    order: str = "any"
    positives: int = 5
    negatives: int = 5
    expressions: int = 3
    hard_negatives: bool = True
    synonyms: bool = True
    say_none: bool = True
    templates: bool = True
    scales: tuple[float, float] | None = None
    dialogues: int = 3
    tasks: Mapping[str, float] = field(
        default_factory=lambda: (
            {str(task): 1.0 for task in Task if task is not Task.ASK} | {GENERAL: 1.0}
        )
    )
    variants: int | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order is {self.order!r}; give one of {', '.join(ORDERS)}")
        if not 0 <= self.miss <= self.match <= 1:
            raise InputError(
                f"miss is {self.miss} and match {self.match}; give 0 <= miss <= match <= 1"
            )
        if not (0 <= self.truth <= 1 and self.jitter >= 0):
            raise InputError(
                f"truth is {self.truth} and jitter {self.jitter}; give 0..1 and 0 or more"
            )
        if self.scales is not None and not 0 < self.scales[0] <= self.scales[1]:
            raise InputError(f"scales are {self.scales}; give a range such as (0.5, 1.5)")
        known = {*map(str, Task), GENERAL} - {str(Task.ASK)}
        unknown = sorted(set(self.tasks) - known)
        if unknown:
            raise InputError(
                f"no dialogues are made of task {unknown[0]!r}; known are {', '.join(sorted(known))}"
            )
        wrong = [name for name, weight in self.tasks.items() if not 0 <= weight < math.inf]
        if wrong:
            raise InputError(
                f"the weight of {wrong[0]!r} is {self.tasks[wrong[0]]}; give 0 or more"
            )
        for name in ("truth", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; give a share from 0 to 1")
        for name in (
            "distractors",
            "most_regions",
            "positives",
            "negatives",
            "expressions",
            "dialogues",
        ):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more")
        if self.variants is not None and self.variants < 1:
            raise InputError(f"variants is {self.variants}; give 1 or more, or None")


def draw(
    record: Record,
    settings: Sampling,
    rng: np.random.Generator,
    open_picture: Open,
    vocabulary: Vocabulary,
    regions_rng: np.random.Generator | None = None,
) -> Sample:
    """Return a sample of a record.

    Args:
        record: what is known.
        settings: how it is drawn.
        rng: source of chance.
        open_picture: gives the pictures.
        vocabulary: of the data set, for negatives.
        regions_rng: another source for the regions and the scale of the pictures; `rng` if None.

    Raises:
        ImageError: a picture cannot be read.
    """
    images = [open_picture(number) for number in range(len(record.pictures))]
    sizes = [(image.height, image.width) for image in images]
    regions_rng = regions_rng or rng
    regions = draw_regions(record, settings, regions_rng, sizes)
    boxes = [regions.of_picture(number) for number in range(len(images))]
    if settings.scales is not None:
        images, boxes = _scaled(images, boxes, settings.scales, regions_rng)
    queries, dialogues = draw_language(record, regions, settings, rng, vocabulary)
    return Sample(
        key=record.key,
        images=tuple(images),
        boxes=tuple(boxes),
        queries=queries,
        dialogues=dialogues,
        names=tuple(
            () if thing == NOBODY else record.objects[thing].names for thing in regions.shows
        ),
    )


def draw_language(
    record: Record,
    regions: RegionSet,
    settings: Sampling,
    rng: np.random.Generator,
    vocabulary: Vocabulary,
) -> tuple[tuple[Query, ...], tuple[Dialogue, ...]]:
    """Return queries and dialogues about a record with its regions."""
    known = Known(record, regions, settings, vocabulary, rng)
    return known.queries() if len(regions) else (), Asker(known).dialogues()


def _scaled(
    images: Sequence[Image.Image],
    boxes: Sequence[np.ndarray],
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[list[Image.Image], list[np.ndarray]]:
    """Return pictures and boxes resized by one factor each."""
    resized: list[Image.Image] = []
    moved: list[np.ndarray] = []
    for image, own in zip(images, boxes, strict=True):
        factor = float(np.exp(rng.uniform(*np.log(scales))))
        size = [max(28, round(side * factor)) for side in image.size]
        ratio = np.array([size[0] / image.width, size[1] / image.height] * 2, np.float32)
        resized.append(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))
        moved.append((own * ratio).astype(np.float32))
    return resized, moved
