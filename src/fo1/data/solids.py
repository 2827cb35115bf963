"""Shaded solids (ball, cube, cylinder, cone, torus, pyramid) in named colours, drawn with numpy.

Only +, -, x, / and square roots are used, which IEEE 754 defines exactly: a seed gives the
same pixels whatever the processor's vector unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from fo1.data.pictures import Concept

Array = NDArray[np.float64]

SIDE = 128
TURNS = 12  # orientations kept per shape

SOLIDS: Mapping[str, Concept] = {
    concept.slug: concept
    for concept in (
        Concept(
            "ball",
            "ball",
            ("sphere",),
            (),
            (
                "soccer ball",
                "basketball",
                "tennis ball",
                "baseball",
                "softball",
                "volleyball",
                "billiard ball",
                "crystal ball",
                "disco ball",
                "balloon",
                "orange",
                "tomato",
                "apple",
                "planet",
                "moon",
                "globe",
                "peach",
                "melon",
                "button",
            ),
            "solids",
        ),
        Concept(
            "cube",
            "cube",
            ("block",),
            (),
            ("dice", "cardboard box", "ice cube", "gift", "box", "bricks"),
            "solids",
        ),
        Concept(
            "cylinder",
            "cylinder",
            (),
            (),
            ("barrel", "can of food", "can", "battery", "drum", "log", "cup", "candle"),
            "solids",
        ),
        Concept(
            "cone",
            "cone",
            (),
            (),
            ("ice cream cone", "pyramid", "party popper", "mountain", "tent", "traffic cone"),
            "solids",
        ),
        Concept(
            "torus",
            "torus",
            (),
            (),
            ("ring", "donut", "life buoy", "bagel", "wheel", "tire"),
            "solids",
        ),
        Concept("pyramid", "pyramid", (), (), ("cone", "tent", "mountain", "diamond"), "solids"),
    )
}

PAINTS: Mapping[str, tuple[int, int, int]] = {
    "red": (205, 35, 35),
    "orange": (240, 130, 25),
    "yellow": (240, 210, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 200),
    "purple": (125, 50, 170),
    "pink": (240, 120, 180),
    "brown": (120, 72, 35),
    "black": (38, 38, 40),
    "white": (238, 238, 238),
    "gray": (130, 132, 135),
}


def _length(*parts: Array) -> Array:
    """Return the Euclidean length."""
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total = total + part * part
    return np.sqrt(total)


def _ball(x: Array, y: Array, z: Array) -> Array:
    return _length(x, y, z) - 0.9


def _cube(x: Array, y: Array, z: Array) -> Array:
    qx, qy, qz = np.abs(x) - 0.53, np.abs(y) - 0.53, np.abs(z) - 0.53
    zero = np.zeros(())
    outside = _length(np.maximum(qx, zero), np.maximum(qy, zero), np.maximum(qz, zero))
    return outside + np.minimum(np.maximum(qx, np.maximum(qy, qz)), 0.0) - 0.02


def _cylinder(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(_length(x, z) - 0.48, np.abs(y) - 0.68)


def _cone(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(_length(x, z) * 0.92 + (y - 0.8) * 0.39, -0.65 - y)


def _torus(x: Array, y: Array, z: Array) -> Array:
    return _length(_length(x, z) - 0.6, y) - 0.27


def _pyramid(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(np.maximum(np.abs(x), np.abs(z)) * 0.88 + (y - 0.7) * 0.47, -0.5 - y)


_DISTANCES: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "ball": _ball,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "pyramid": _pyramid,
}


def _spin(t: float) -> tuple[float, float]:
    """Return (cosine, sine) of an angle from the rational parametrisation of the circle."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def surface(shape: str, turn: int) -> tuple[Array, NDArray[np.uint8]]:
    """Return normals (SIDE, SIDE, 3), x right, y up, z to the eye, and alpha (SIDE, SIDE).

    The view is orthographic, `turn` picks one of TURNS orientations. Rays are marched with signed
    distances at twice the size and averaged.
    """
    rng = np.random.default_rng([turn, len(shape), ord(shape[0])])
    cy, sy = _spin(float(rng.uniform(-1, 1)))
    cx, sx = _spin(float(rng.uniform(0.08, 0.34)))
    cz, sz = _spin(float(rng.uniform(-0.12, 0.12)))
    distance = _DISTANCES[shape]
    side = 2 * SIDE
    axis = (np.arange(side) * 2 + 1 - side) / side * 1.1
    shape2 = (side, side)
    x = np.broadcast_to(axis[None], shape2)
    y = np.broadcast_to(-axis[:, None], shape2)
    depth = np.full(shape2, 2.0)

    def field(px: Array, py: Array, pz: Array) -> Array:
        px, py = px * cz - py * sz, px * sz + py * cz
        py, pz = py * cx - pz * sx, py * sx + pz * cx
        px, pz = px * cy - pz * sy, px * sy + pz * cy
        return distance(px, py, pz)

    for _ in range(48):
        depth = depth - field(x, y, depth) * 0.95
    hit = (np.abs(field(x, y, depth)) < 0.01) & (depth > -2.0)
    step = 0.004
    normal = np.stack(
        [
            field(x + step, y, depth) - field(x - step, y, depth),
            field(x, y + step, depth) - field(x, y - step, depth),
            field(x, y, depth + step) - field(x, y, depth - step),
        ],
        axis=-1,
    )
    normal = normal / np.maximum(np.sqrt((normal * normal).sum(-1, keepdims=True)), 1e-9)
    normal = np.where(hit[..., None], normal, 0.0)

    def halve(a: Array) -> Array:
        return (a[0::2, 0::2] + a[0::2, 1::2]) + (a[1::2, 0::2] + a[1::2, 1::2])

    count = halve(hit.astype(np.float64))
    normal = halve(normal) / np.maximum(count, 1.0)[..., None]
    return normal, (count * 255 / 4).astype(np.uint8)


class SolidPainter:
    """Paints solids; keeps the surfaces it has drawn, at most shapes x TURNS."""

    def __init__(self) -> None:
        """Start with nothing drawn."""
        self._surfaces: dict[tuple[str, int], tuple[Array, NDArray[np.uint8]]] = {}

    def paint(self, rng: Generator, shape: str, colour: str) -> Image.Image:
        """Return the RGBA picture of a solid under a random light, cropped to its pixels."""
        turn = int(rng.integers(TURNS))
        if (shape, turn) not in self._surfaces:
            self._surfaces[shape, turn] = surface(shape, turn)
        normal, alpha = self._surfaces[shape, turn]
        light = [float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.1, 0.9)), 0.8]
        size = math.sqrt(sum(part * part for part in light))
        lx, ly, lz = (part / size for part in light)
        facing = normal[..., 0] * lx + normal[..., 1] * ly + normal[..., 2] * lz
        ambient = float(rng.uniform(0.35, 0.55))
        shade = ambient + (1.12 - ambient) * np.maximum(facing, 0.0)
        half = math.sqrt(lx * lx + ly * ly + (lz + 1) * (lz + 1))
        gloss = normal[..., 0] * lx + normal[..., 1] * ly + normal[..., 2] * (lz + 1)
        gloss = np.maximum(gloss / half, 0.0)
        for _ in range(int(rng.integers(3, 6))):
            gloss = gloss * gloss
        gloss = gloss * float(rng.uniform(0, 140))
        paint = np.asarray(PAINTS[colour], np.float64) + rng.integers(-12, 13, 3)
        rgb = np.clip(paint * shade[..., None] + gloss[..., None], 0, 255).astype(np.uint8)
        image = Image.fromarray(np.dstack([rgb, alpha]))
        return image.crop(image.getchannel("A").getbbox())
