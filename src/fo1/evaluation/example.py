"""One picture with what is asked about it: the value every task is made of.

    file of a data set --task--> Example --model--> Prediction --task--> figures
                                              |
                                              +--> one row of rows.jsonl, and back

Legend: N regions of one picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from PIL import Image

from fo1.errors import ImageError, short_name
from fo1.geometry import Boxes, Size
from fo1.imaging import ImageSource, load_image
from fo1.pipeline import Request

Truth = TypeVar("Truth")
Picture: TypeAlias = "ImageSource | Callable[[], Image.Image]"
"""A picture, or what makes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Example(Generic[Truth]):
    """One picture with its questions.

    Attributes:
        key: names the example; unique in its task and the same in every run.
        picture: name of the picture; intervals are taken over pictures, not examples.
        image: the picture, or what makes it.
        requests: what is asked, in this order.
        truth: what a task needs to judge the answers.
        boxes: (N, 4) xyxy regions that the protocol gives; None where they are proposed.
        image_id: number or name under which files of proposals know the picture.
        image_size: (height, width) that the annotation is for; None where it does not say.
    """

    key: str
    picture: str
    image: Picture
    requests: tuple[Request, ...]
    truth: Truth
    boxes: Boxes | None = None
    image_id: int | str | None = None
    image_size: Size | None = None

    def open(self) -> Image.Image:
        """Return the picture, RGB.

        Raises:
            ImageError: it cannot be read, or it has another size than its annotation.
        """
        image = load_image(self.image() if callable(self.image) else self.image)
        height, width = self.image_size or (image.height, image.width)
        if image.size != (width, height):
            raise ImageError(
                f"{short_name(self.picture)} is {image.width} x {image.height}, but its annotation "
                f"is for {width} x {height}; take the picture that belongs to it"
            )
        return image
