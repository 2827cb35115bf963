"""Sample: one record as the model is to see it once, before it becomes tokens.

    Record --sampling--> Sample --collator--> batch

Regions are numbered as in the prompt: those of the first picture first, then those of the second, ...
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from fo1.geometry import Boxes

UNKNOWN = -1.0
"""Target of a region of which nobody knows whether the query means it; it costs no loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A name or expression and the regions it means.

    Attributes:
        text: without markup.
        targets: (N,) float32: 1 meant, 0 not meant, `UNKNOWN`.
        task: "detect" for a name, "refer" for an expression.
    """

    text: str
    targets: npt.NDArray[np.float32]
    task: str = "detect"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation behind the picture and its regions.

    Attributes:
        turns: (question, answer) pairs, oldest first; `<regionN>` names region N. Answers are learned.
        task: what it teaches: the value of a `fo1.prompts.Task`, or "general".
    """

    turns: tuple[tuple[str, str], ...]
    task: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one training step sees of one record.

    Attributes:
        key: of the record.
        images: RGB, in the size in which they enter the processor.
        boxes: per picture (N_i, 4) float32 xyxy pixels of that image.
        queries: for the score head.
        dialogues: for the language model; each sees the pictures and itself only.
        names: per region every name that is true of it, its own first; () for a region that shows no named thing.
        features: (N, C) auxiliary features pooled earlier; None where they are to be computed.
    """

    key: str
    images: tuple[Image.Image, ...]
    boxes: tuple[Boxes, ...]
    queries: tuple[Query, ...] = ()
    dialogues: tuple[Dialogue, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    features: Tensor | None = None

    @property
    def num_regions(self) -> int:
        """Regions of all pictures."""
        return sum(map(len, self.boxes))
