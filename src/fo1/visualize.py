"""Detections drawn on a picture, and pictures written to disk whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fo1.errors import ImageError, InputError
from fo1.geometry import box_area, clip_boxes
from fo1.imaging import ImageSource, load_image
from fo1.results import Detections

Color: TypeAlias = tuple[int, int, int]
Rect: TypeAlias = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; the far corner is exclusive."""
Rects: TypeAlias = npt.NDArray[np.int64]
"""(N, 4) of them."""

PALETTE: Final[tuple[Color, ...]] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
    (0, 114, 178),  # blue
)
"""Colours that people of any colour vision tell apart.

Source: M. Okabe and K. Ito, "Color Universal Design", 2008; its black is left out.
"""

_INK: Final[Color] = (16, 18, 22)
_PAPER: Final[Color] = (255, 255, 255)
_FILL_OPACITY = 26  # of 255
_EDGE_OPACITY = 110
_MASK_OPACITY = 120
_MIN_FONT = 7
_LABEL_WEIGHT = 12  # hiding a label is so much worse than hiding part of a small box

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels, all grown from the picture's size."""

    font: Font
    line: int
    pad_x: int
    pad_y: int
    radius: int


def draw(
    image: ImageSource,
    detections: Detections,
    *,
    show_scores: bool = True,
    font: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Return a new RGB picture with a box and a label for each detection, masks tinted where there are some.

    A label keeps one colour throughout the picture; colours repeat after seven labels. Text and
    lines grow with the picture. Labels stay inside the picture and, where there is room, off each
    other.

    Args:
        image: the picture that the detections belong to.
        detections: boxes in pixels of that picture.
        show_scores: write "cat 0.93", not "cat".
        font: a TrueType file, for scripts that the built-in Latin font lacks.

    Raises:
        InputError: the picture's size differs from `detections.image_size`.
        ImageError: the picture or the font cannot be read.
    """
    canvas = load_image(image)
    height, width = detections.image_size
    if canvas.size != (width, height):
        raise InputError(
            f"the picture is {canvas.width} x {canvas.height} but the detections are for "
            f"{width} x {height}; pass the picture they were made on"
        )
    if not len(detections):
        return canvas
    style = _style(canvas.size, len(detections), font)
    names = {label: place for place, label in enumerate(dict.fromkeys(detections.labels))}
    boxes = clip_boxes(detections.boxes, detections.image_size)
    # Large boxes first, so that small ones stay visible.
    order = [int(row) for row in (-box_area(boxes)).argsort(kind="stable")]
    rects = {row: _rect(boxes[row].tolist(), canvas.size) for row in order}
    colors = {row: PALETTE[names[detections.labels[row]] % len(PALETTE)] for row in order}
    if detections.masks is not None:
        canvas = _tint(canvas, [(detections.masks.decode(row), colors[row]) for row in order])
    canvas = _draw_boxes(canvas, [(rects[row], colors[row]) for row in order], style)
    pen = ImageDraw.Draw(canvas)
    labels: list[Rect] = []
    distinct = np.array(list(dict.fromkeys(rects.values())))
    # The best scores choose their label's place first.
    for row in (int(row) for row in (-detections.scores).argsort(kind="stable")):
        text = " ".join(detections.labels[row].split())
        if show_scores:
            text = f"{text} {detections.scores[row]:.2f}".strip()
        room = _Room(canvas.size, rects[row], labels, distinct)
        labels += _draw_label(pen, text, room, colors[row], style)
    return canvas


def save_picture(image: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a picture and return its path; a reader sees the old file or the whole new one.

    Raises:
        ImageError: unknown suffix, missing folder, or the folder cannot be written to.
    """
    target = Path(path)
    kind = Image.registered_extensions().get(target.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise ImageError(f"cannot write {target}: unknown suffix '{target.suffix}'; use .png, .jpg")
    if not target.parent.is_dir():
        raise ImageError(f"cannot write {target}: folder {target.parent} is missing; create it")
    if target.is_dir():
        raise ImageError(f"cannot write {target}: it is a folder; give a file name")
    if kind == "JPEG" and image.mode not in ("RGB", "L", "CMYK"):
        image = load_image(image)
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            if kind == "JPEG":
                image.save(stream, kind, quality=92, subsampling=0)
            else:
                image.save(stream, kind)
        part.replace(target)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(said.split())
        raise ImageError(f"cannot write {target}: {reason}; check folder and disk") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _style(size: tuple[int, int], count: int, font: str | os.PathLike[str] | None) -> _Style:
    # The geometric mean keeps panoramas from getting huge letters.
    span = (size[0] * size[1]) ** 0.5
    fine = 1.0 if count <= 12 else 0.85 if count <= 40 else 0.72
    points = max(_MIN_FONT, round(span / 48 * fine), min(12, round(span / 12)))
    line = max(2, round(span / 230 * fine))
    try:
        face = ImageFont.load_default(points) if font is None else ImageFont.truetype(font, points)
    except OSError as error:
        raise ImageError(f"cannot read font {font}: {error}; give a TrueType file") from error
    return _Style(
        font=face,
        line=line,
        pad_x=max(2, round(points * 0.42)),
        pad_y=max(1, round(points * 0.22)),
        radius=max(1, round(points * 0.28)),
    )


def _rect(box: list[float], size: tuple[int, int]) -> Rect:
    """Return the box in whole pixels, at least one pixel wide and high and inside the picture."""
    x1, y1 = min(int(box[0]), size[0] - 1), min(int(box[1]), size[1] - 1)
    x2, y2 = min(round(box[2]), size[0]), min(round(box[3]), size[1])
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _tint(canvas: Image.Image, masks: list[tuple[npt.NDArray[np.bool_], Color]]) -> Image.Image:
    """Return the picture with each mask (H, W) in its colour, through which the picture shows."""
    for mask, color in masks:
        opacity = Image.fromarray(mask.astype(np.uint8) * _MASK_OPACITY)
        canvas.paste(color, (0, 0, *canvas.size), opacity)
    return canvas


def _draw_boxes(canvas: Image.Image, boxes: list[tuple[Rect, Color]], style: _Style) -> Image.Image:
    """Return the picture with tinted boxes; a thin dark edge sets lines off bright backgrounds."""
    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    edge = max(1, style.line // 3)
    for (x1, y1, x2, y2), color in boxes:
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=(*color, _FILL_OPACITY))
    for (x1, y1, x2, y2), color in boxes:
        line = max(1, min(style.line, (x2 - x1) // 3, (y2 - y1) // 3))
        around = (x1 - edge, y1 - edge, x2 - 1 + edge, y2 - 1 + edge)
        pen.rectangle(around, outline=(*_INK, _EDGE_OPACITY), width=edge)
        inner = (x1 + line, y1 + line, x2 - 1 - line, y2 - 1 - line)
        if inner[2] - inner[0] > 2 * edge and inner[3] - inner[1] > 2 * edge:
            pen.rectangle(inner, outline=(*_INK, _EDGE_OPACITY), width=edge)
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(*color, 255), width=line)
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")


def _draw_label(
    pen: ImageDraw.ImageDraw, text: str, room: "_Room", color: Color, style: _Style
) -> list[Rect]:
    """Draw one label and return the place it took, or nothing if the picture is too small."""
    text = _shorten(text, style.font, room.size[0] - 2 * style.pad_x)
    # Ascender and descender, not the text's own extent, so that all labels are equally high.
    _, top, _, bottom = style.font.getbbox("Ag|")
    high = round(bottom - top) + 2 * style.pad_y
    wide = round(style.font.getlength(text)) + 2 * style.pad_x
    if not text or high > room.size[1]:
        return []
    x, y, right, low = place = room.best((wide, high))
    # The outline keeps neighbours of one colour apart.
    shade = tuple(round(part * 0.55) for part in color)
    pen.rounded_rectangle((x, y, right - 1, low - 1), style.radius, fill=color, outline=shade)
    ink = _INK if _luminance(color) > 0.18 else _PAPER
    pen.text((x + style.pad_x, y + style.pad_y - top), text, fill=ink, font=style.font)
    return [place]


@dataclass(frozen=True, slots=True)
class _Room:
    """What a label minds: picture (width, height), its own box, labels so far, all boxes."""

    size: tuple[int, int]
    rect: Rect
    labels: list[Rect]
    boxes: Rects

    def best(self, label: tuple[int, int]) -> Rect:
        """Return the place for a label (width, height) that hides least and is near its box."""
        places = list(_places(self.rect, label, self.size))
        spots = np.array(places)
        area = label[0] * label[1]
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        # A box much larger than a label loses nothing under it.
        small = self.boxes[sides[:, 0] * sides[:, 1] < 8 * area]
        gap = np.maximum(self.rect[1] - spots[:, 3], spots[:, 1] - self.rect[3]).clip(0) * label[0]
        labels = np.array(self.labels, dtype=np.int64).reshape(-1, 4)
        cost = gap + _overlap(spots, small) + _LABEL_WEIGHT * _overlap(spots, labels)
        return places[int(cost.argmin())]


def _places(rect: Rect, label: tuple[int, int], size: tuple[int, int]) -> Iterator[Rect]:
    """Yield places in order of liking, moved into the picture."""
    x1, y1, x2, y2 = rect
    wide, high = label
    above, below = y1 - high, y2
    spots = [(x1, above), (x1, y1), (x2 - wide, above), (x2 - wide, y1)]
    spots += [(x1, below), (x1, y2 - high), (x2 - wide, below), (x2 - wide, y2 - high)]
    spots += [(x1, above - high), (x1, below + high), (x1, above - 2 * high)]
    spots += [(x1, y1 + high * step) for step in (1, 2, 3)]
    spots.sort(key=lambda spot: not 0 <= spot[1] <= size[1] - high)  # stable: fitting ones first
    for x, y in spots:
        left = max(0, min(x, size[0] - wide))
        top = max(0, min(y, size[1] - high))
        yield left, top, left + wide, top + high


def _overlap(places: Rects, others: Rects) -> npt.NDArray[np.int64]:
    """Return (P,) square pixels that each of the places shares with (M, 4) others in total."""
    far = np.minimum(places[:, None, 2:], others[None, :, 2:])
    sides = (far - np.maximum(places[:, None, :2], others[None, :, :2])).clip(0)  # (P, M, 2)
    return (sides[..., 0] * sides[..., 1]).sum(axis=1)


def _shorten(text: str, font: Font, room: float) -> str:
    """Return the text, cut to the room in pixels with an ellipsis; "" if nothing fits."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(f"{text[:middle].rstrip()}...") <= room:
            low = middle
        else:
            high = middle - 1
    return f"{text[:low].rstrip()}..." if low else ""


def _luminance(color: Color) -> float:
    """Return relative luminance in [0, 1]. Source: WCAG 2.2, definition of relative luminance."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
