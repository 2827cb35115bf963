"""Puts patches on a ground: size, turn, occlusion, shadows, camera.

Things and distractors take the same road here, so that the edge of a patch gives nothing away.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from fo1.data.backgrounds import fractal, noise

Box = tuple[float, float, float, float]
Mask = NDArray[np.bool_]

VISIBLE_ALPHA = 64
LEAST_VISIBLE = 0.4
LEAST_SIDE = 24
MOST_SIDE = 300


@dataclass(slots=True)
class Layer:
    """A patch to be pasted: RGBA picture, top-left corner, and the thing it shows (or none)."""

    image: Image.Image
    left: int
    top: int
    thing: tuple[str, str, str] | None  # concept slug, style, colour
    box: Box = (0.0, 0.0, 0.0, 0.0)
    visible: float = 0.0

    def mask(self) -> Mask:
        """Return the pixels (h, w) of the patch that count as visible."""
        return np.asarray(self.image.getchannel("A")) >= VISIBLE_ALPHA


def resolve_occlusion(layers: list[Layer], width: int, height: int) -> list[Layer]:
    """Return the layers that can be seen well enough, bottom first, boxes filled in.

    A layer of which less than LEAST_VISIBLE can be seen (it is covered by later ones or lies
    outside the picture) is left out altogether, so that nothing unnamed stays in the picture.
    """
    covered = np.zeros((height, width), np.bool_)
    kept: list[Layer] = []
    for layer in reversed(layers):
        mask = layer.mask()
        total = int(np.count_nonzero(mask))
        x0, y0 = max(0, layer.left), max(0, layer.top)
        x1 = min(width, layer.left + mask.shape[1])
        y1 = min(height, layer.top + mask.shape[0])
        if total == 0 or x0 >= x1 or y0 >= y1:
            continue
        part = mask[y0 - layer.top : y1 - layer.top, x0 - layer.left : x1 - layer.left]
        window = covered[y0:y1, x0:x1]
        seen = part & ~window
        layer.visible = int(np.count_nonzero(seen)) / total
        if layer.visible < LEAST_VISIBLE:
            continue
        columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
        box = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
        if min(box[2] - box[0], box[3] - box[1]) < 6:
            continue
        layer.box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        window |= part
        kept.append(layer)
    return kept[::-1]


def blob(rng: Generator, side: int) -> Image.Image:
    """Return the soft-edged mask (L) of a shape without a name."""
    big = side * 2
    kind = int(rng.integers(3))
    if kind == 0:
        x = np.arange(big)[None] - side
        fall = (x * x + x.T * x.T) * 255 // (side * side)
        lumps = fractal(rng, big, big) if rng.random() < 0.4 else noise(rng, big, big, 4, 4)
        mask = Image.fromarray(((lumps * 3 // 4 - fall + 60 > 0) * 255).astype(np.uint8))
    else:
        mask = Image.new("L", (big, big))
        draw = ImageDraw.Draw(mask)
        if kind == 1:
            corners = [
                tuple(rng.integers(0, big, 2).tolist()) for _ in range(int(rng.integers(3, 8)))
            ]
            draw.polygon([(p[0], p[1]) for p in corners], fill=255)
        else:
            w, h = int(rng.integers(big // 4, big)), int(rng.integers(big // 4, big))
            box = ((big - w) // 2, (big - h) // 2, (big + w) // 2 - 1, (big + h) // 2 - 1)
            if rng.random() < 0.5:
                draw.ellipse(box, fill=255)
            else:
                draw.rounded_rectangle(box, int(rng.integers(0, min(w, h) // 2)), fill=255)
    return mask.reduce(2)


def wished_places(
    rng: Generator, count: int, width: int, height: int
) -> tuple[list[tuple[int, int] | None], float]:
    """Return a wished centre per patch (None: free) and the longest side that leaves room.

    A quarter of the scenes stand in rows and columns, or in one row.
    """
    style = float(rng.random())
    if style < 0.72:
        return [None] * count, math.inf
    columns = count if style > 0.86 and count <= 7 else math.ceil(math.sqrt(count * width / height))
    rows = math.ceil(count / columns)
    middle = height * int(rng.integers(30, 71)) // 100
    spots: list[tuple[int, int] | None] = []
    for k in range(count):
        row, column = divmod(k, columns)
        x = width * (2 * column + 1) // (2 * columns)
        y = height * (2 * row + 1) // (2 * rows) if rows > 1 else middle
        jitter = max(2, min(width // columns, height // rows) // 8)
        x += int(rng.integers(-jitter, jitter + 1))
        spots.append((x, y + int(rng.integers(-jitter, jitter + 1))))
    return spots, max(LEAST_SIDE, 1.15 * min(width / columns, height / rows))


def transform(
    rng: Generator, patch: Image.Image, side: int, upright: bool, softness: float
) -> Image.Image:
    """Return the patch at its size, flipped, turned, squeezed, relit, edges softened.

    Things and distractors take the same road, so that edges give nothing away.
    """
    if rng.random() < 0.5:
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = side / max(patch.size)
    squeeze = float(rng.uniform(0.85, 1.15))
    size = (
        max(4, round(patch.width * scale * min(1.0, squeeze))),
        max(4, round(patch.height * scale * min(1.0, 1 / squeeze))),
    )
    patch = patch.resize(size, Image.Resampling.BICUBIC)
    reach = 12 if upright or rng.random() < 0.5 else (60 if rng.random() < 0.75 else 180)
    turn = float(rng.uniform(-reach, reach))
    if reach > 12 or rng.random() < 0.6:
        patch = patch.rotate(turn, Image.Resampling.BILINEAR, expand=True)
    colour, alpha = patch.convert("RGB"), patch.getchannel("A")
    colour = _relight(colour, [int(rng.integers(84, 116))] * 3, int(rng.integers(-14, 15)))
    if rng.random() < 0.3:
        colour = ImageEnhance.Color(colour).enhance(float(rng.uniform(0.65, 1.25)))
    if softness > 0.35 and side > 30:
        alpha = alpha.filter(ImageFilter.GaussianBlur(softness * min(1.0, side / 90)))
    colour.putalpha(alpha)
    return colour


def _relight(image: Image.Image, gains: list[int], lift: int) -> Image.Image:
    """Return an RGB image with contrast scaled per channel (per cent of 128) and lifted."""
    values = (np.arange(256)[:, None] - 128) * np.asarray(gains)[None] // 100 + 128 + lift
    tables = np.clip(values, 0, 255).astype(np.uint8)
    pixels = np.asarray(image)
    return Image.fromarray(np.stack([tables[pixels[..., c], c] for c in range(3)], axis=-1))


def settle(
    rng: Generator,
    size: tuple[int, int],
    layers: list[Layer],
    width: int,
    height: int,
    crowding: float,
    spot: tuple[int, int] | None,
) -> tuple[int, int]:
    """Return the top-left corner for a patch: the least crowded of a few random places."""
    if spot is not None:
        return spot[0] - size[0] // 2, spot[1] - size[1] // 2
    hang = int(rng.random() < 0.15) * min(size) // 3
    best, least = (0, 0), math.inf
    for _ in range(8):
        left = int(rng.integers(-hang, max(1, width - size[0] + hang)))
        top = int(rng.integers(-hang, max(1, height - size[1] + hang)))
        worst = 0.0
        for other in layers:
            w = min(left + size[0], other.left + other.image.width) - max(left, other.left)
            h = min(top + size[1], other.top + other.image.height) - max(top, other.top)
            if w > 0 and h > 0:
                smaller = min(size[0] * size[1], other.image.width * other.image.height)
                worst = max(worst, w * h / smaller)
        if worst < least:
            best, least = (left, top), worst
        if worst <= crowding:
            break
    return best


def paint(rng: Generator, image: Image.Image, layers: list[Layer]) -> Image.Image:
    """Return the ground with shadows and patches on it, bottom first."""
    shadows = rng.random() < 0.6
    dx, dy = float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.0, 0.14))
    strength, blur = int(rng.integers(25, 65)), float(rng.uniform(0.02, 0.07))
    for layer in layers:
        alpha = layer.image.getchannel("A")
        if shadows:
            side = max(layer.image.size)
            pad = max(2, int(side * blur * 2))
            shadow = Image.new("L", (alpha.width + 2 * pad, alpha.height + 2 * pad))
            weak = np.asarray(alpha).astype(np.uint16) * strength // 100
            shadow.paste(Image.fromarray(weak.astype(np.uint8)), (pad, pad))
            shadow = shadow.filter(ImageFilter.BoxBlur(max(1, int(side * blur))))
            corner = (layer.left - pad + int(dx * side), layer.top - pad + int(dy * side))
            image.paste((0, 0, 0), corner, shadow)
        image.paste(layer.image.convert("RGB"), (layer.left, layer.top), alpha)
    return image


def camera(rng: Generator, image: Image.Image) -> Image.Image:
    """Return the picture as a camera would give it: light, blur, noise, JPEG."""
    if rng.random() < 0.7:
        gains = (int(rng.integers(75, 126)) + rng.integers(-5, 6, 3)).tolist()
        image = _relight(image, gains, int(rng.integers(-25, 26)))
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.4))))
    if rng.random() < 0.4:
        reach = int(rng.integers(3, 22))
        grain = rng.integers(0, 2 * reach + 1, (image.height, image.width), dtype=np.uint8)
        layer = Image.merge("RGB", [Image.fromarray(grain)] * 3)
        image = ImageChops.add(image, layer, 1, -reach)
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
        image = Image.open(buffer).convert("RGB")
    return image
