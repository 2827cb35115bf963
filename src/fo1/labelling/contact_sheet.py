"""Many labelled pictures on one sheet, small, to see at a glance whether the labels are good."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from fo1.errors import ImageError
from fo1.geometry import scale_boxes
from fo1.imaging import load_image
from fo1.results import Detections
from fo1.visualize import draw

MOST: Final = 24
"""Pictures on a sheet."""
_COLUMNS, _SIDE, _MARGIN, _LINE = 6, 288, 8, 16
_LETTERS = 40


def contact_sheet(chosen: Sequence[tuple[str, Detections]], root: Path) -> Image.Image | None:
    """Return a sheet of pictures with their boxes; None where none can be read any more.

    Args:
        chosen: name of each picture, relative to the root, and what was found in it.
        root: folder of the pictures.
    """
    panels: list[tuple[str, Image.Image]] = []
    for name, found in chosen:
        try:
            panels.append((name, _panel(load_image(root / name), found)))
        except ImageError:  # it was there when it was labelled
            continue
    if not panels:
        return None
    columns, step = min(_COLUMNS, len(panels)), _SIDE + _MARGIN
    rows = -(-len(panels) // columns)
    size = (columns * step + _MARGIN, rows * (step + _LINE) + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (name, panel) in enumerate(panels):
        left = _MARGIN + place % columns * step
        top = _MARGIN + place // columns * (step + _LINE)
        sheet.paste(panel, (left + (_SIDE - panel.width) // 2, top + _SIDE - panel.height))
        told = name if len(name) <= _LETTERS else f"...{name[-_LETTERS:]}"
        told = told.encode("ascii", "replace").decode()  # all that the built-in font has
        pen.text((left, top + _SIDE), told, fill="black", font=font)
    return sheet


def _panel(image: Image.Image, found: Detections) -> Image.Image:
    """Return a picture, fitted in the panel, with its boxes drawn at that size."""
    size = found.image_size
    if (image.height, image.width) != size:
        raise ImageError("it has another size than when it was labelled; label it again")
    scale = _SIDE / max(size)
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    panel = image.resize((small[1], small[0]), Image.Resampling.LANCZOS)
    return draw(
        panel,
        Detections(
            boxes=scale_boxes(found.boxes, size, small),
            labels=found.labels,
            scores=found.scores,
            regions=found.regions,
            image_size=small,
        ),
    )
