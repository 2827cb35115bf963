"""Procedural pictures of nothing in particular: grounds for scenes, textures for distractors.

Everything is integer arithmetic, Pillow's 8-bit resampling and operations that IEEE 754 defines
exactly, so that a seed gives the same pixels whatever the processor's vector unit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Grey = NDArray[np.integer]
Texture = Callable[[Generator, int, int], Image.Image]


def random_colour(rng: Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    """Return an RGB colour; two in three are muted, as walls, cloth and ground are."""
    colour = rng.integers(low, high, 3)
    if rng.random() < 0.67:
        grey = int(colour.sum()) // 3
        colour = grey + (colour - grey) * int(rng.integers(10, 60)) // 100
    return int(colour[0]), int(colour[1]), int(colour[2])


def ramp(colours: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return a (256, 3) uint8 table running through `colours` in equal steps."""
    stops = np.asarray(colours, dtype=np.int64)
    position = np.arange(256) * (len(colours) - 1)
    low = np.minimum(position // 255, len(colours) - 2)
    weight = (position - low * 255)[:, None]
    return ((stops[low] * (255 - weight) + stops[low + 1] * weight) // 255).astype(np.uint8)


def tint(grey: Grey, colours: list[tuple[int, int, int]]) -> Image.Image:
    """Return grey levels (H, W), 0 to 255, as an RGB image running through `colours`."""
    return Image.fromarray(ramp(colours)[np.clip(grey, 0, 255).astype(np.uint8)])


def noise(rng: Generator, width: int, height: int, across: int, down: int) -> Grey:
    """Return smooth noise (height, width) int32, 0 to 255, with `across` x `down` cells."""
    cells = rng.integers(0, 256, (max(2, down), max(2, across)), dtype=np.uint8)
    smooth = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth).astype(np.int32)


def fractal(rng: Generator, width: int, height: int) -> Grey:
    """Return noise of several scales (height, width) int32, 0 to 255."""
    cells = int(rng.integers(2, 7))
    total = np.zeros((height, width), np.int32)
    weights = (8, 4, 2, 1) if rng.random() < 0.6 else (5, 4, 3, 3)
    for octave, weight in enumerate(weights):
        count = cells << (octave * (1 + int(cells < 4)))
        total += weight * noise(rng, width, height, min(count, width), min(count, height))
    return np.clip((total // 15 - 128) * 3 // 2 + 128, 0, 255)


def _axes(rng: Generator, width: int, height: int) -> tuple[Grey, Grey]:
    """Return two perpendicular integer coordinates (height, width) at a random angle, x 64."""
    a, b = ((64, 0), (0, 64), (45, 45), (45, -45), (60, 22), (-22, 60), (57, -29), (62, 16))[
        int(rng.integers(8))
    ]
    x, y = np.arange(width, dtype=np.int32)[None], np.arange(height, dtype=np.int32)[:, None]
    return x * a + y * b, y * a - x * b


def _triangle(position: Grey, period: int, sharpness: int) -> Grey:
    """Return a wave 0 to 255 of the given period; sharpness 1 is soft, 8 nearly a step."""
    phase = position % period
    wave = np.abs(phase * 2 - period) * 510 // period - 255
    return np.clip(wave * sharpness // 2 + 128, 0, 255)


def plain(rng: Generator, width: int, height: int) -> Image.Image:
    """Return one colour with a faint fall of light."""
    first = random_colour(rng)
    second = tuple(max(0, c * int(rng.integers(80, 100)) // 100) for c in first)
    u, _ = _axes(rng, width, height)
    u = u - u.min()
    return tint(u * 255 // max(1, int(u.max())), [first, second])  # pyright: ignore[reportArgumentType]


def gradient(rng: Generator, width: int, height: int) -> Image.Image:
    """Return a linear or round gradient through two to four colours."""
    colours = [random_colour(rng) for _ in range(int(rng.integers(2, 5)))]
    if rng.random() < 0.6:
        u, _ = _axes(rng, width, height)
    else:
        x = np.arange(width, dtype=np.int64)[None] - int(rng.integers(width))
        y = np.arange(height, dtype=np.int64)[:, None] - int(rng.integers(height))
        u = x * x + y * y
    u = u - u.min()
    return tint(u * 255 // max(1, int(u.max())), colours)


def cloudy(rng: Generator, width: int, height: int) -> Image.Image:
    """Return fractal noise in two to four colours."""
    colours = [random_colour(rng) for _ in range(int(rng.integers(2, 5)))]
    return tint(fractal(rng, width, height), colours)


def stripes(rng: Generator, width: int, height: int) -> Image.Image:
    """Return parallel stripes, soft or sharp, sometimes wavy or crossed like cloth."""
    u, v = _axes(rng, width, height)
    period = int(rng.integers(6, 60)) * 64
    if rng.random() < 0.4:
        u = u + noise(rng, width, height, 4, 4) * int(rng.integers(4, 24))
    wave = _triangle(u, period, int(rng.integers(1, 9)))
    if rng.random() < 0.3:
        wave = (wave + _triangle(v, period, int(rng.integers(1, 9)))) // 2
    return tint(wave, [random_colour(rng) for _ in range(int(rng.integers(2, 4)))])


def checker(rng: Generator, width: int, height: int) -> Image.Image:
    """Return squares or tiles with joints."""
    u, v = _axes(rng, width, height)
    side = int(rng.integers(8, 70)) * 64
    if rng.random() < 0.5:
        grey = ((u // side + v // side) % 2) * 255
    else:
        joint = 64 * int(rng.integers(1, 4))
        grey = np.where((u % side < joint) | (v % side < joint), 0, 170) + (
            (u // side * 7 + v // side * 13) % 5 * 17
        ) * (u % side >= joint)
    grey = grey * 7 // 8 + fractal(rng, width, height) // 8
    return tint(grey, [random_colour(rng), random_colour(rng)])


def bricks(rng: Generator, width: int, height: int) -> Image.Image:
    """Return a wall of bricks."""
    tall = int(rng.integers(10, 32))
    wide = tall * int(rng.integers(2, 4))
    y = np.arange(height)[:, None]
    x = np.arange(width)[None] + (y // tall % 2) * (wide // 2)
    joint = max(1, tall // 9)
    value = 110 + (x // wide * 37 + y // tall * 91) % 7 * 18
    grey = np.where((x % wide < joint) | (y % tall < joint), 20, value)
    grey = grey * 3 // 4 + fractal(rng, width, height) // 4
    red = (int(rng.integers(110, 200)), int(rng.integers(60, 110)), int(rng.integers(40, 90)))
    face = red if rng.random() < 0.6 else random_colour(rng, 60)
    return tint(grey, [random_colour(rng, 90, 220), face, tuple(min(255, c + 40) for c in face)])  # pyright: ignore[reportArgumentType]


def wood(rng: Generator, width: int, height: int) -> Image.Image:
    """Return planks with grain."""
    flip = rng.random() < 0.5
    if flip:
        width, height = height, width
    grain = noise(rng, width, height, 3, max(4, height // 12)) * 2
    grain += np.arange(height, dtype=np.int32)[:, None] * int(rng.integers(4, 18))
    fine = noise(rng, width, height, max(2, width // 60), height // 2)
    grey = _triangle(grain, int(rng.integers(60, 240)), 1) * 2 // 3 + fine // 3
    plank = int(rng.integers(24, 120))
    row = np.arange(height)[:, None] // plank
    grey = grey * 3 // 4 + (row * 53 % 5) * 14
    grey = np.where(np.arange(height)[:, None] % plank < 2, 0, grey)
    dark = (int(rng.integers(50, 130)), int(rng.integers(30, 80)), int(rng.integers(15, 50)))
    light = (
        dark[0] + int(rng.integers(40, 120)),
        dark[1] + int(rng.integers(40, 100)),
        dark[2] + int(rng.integers(30, 80)),
    )
    image = tint(grey, [dark, light])
    return image.transpose(Image.Transpose.TRANSPOSE) if flip else image


def grass(rng: Generator, width: int, height: int) -> Image.Image:
    """Return blades of grass, sand or carpet: fine upright noise over broad patches."""
    fine = noise(rng, width, height, width // 2, max(3, height // int(rng.integers(4, 14))))
    broad = fractal(rng, width, height)
    if rng.random() < 0.7:
        dark = (int(rng.integers(10, 60)), int(rng.integers(50, 110)), int(rng.integers(10, 50)))
        light = (dark[0] + 80, dark[1] + 90, dark[2] + 50)
    else:
        dark, light = random_colour(rng, 40, 160), random_colour(rng, 120, 256)
    return tint((fine * 3 + broad * 2) // 5, [dark, light])


def voronoi(rng: Generator, width: int, height: int) -> Image.Image:
    """Return cells around random points: cobbles, mosaic, cracked earth."""
    w, h = max(2, width // 3), max(2, height // 3)
    count = int(rng.integers(8, 40))
    px, py = rng.integers(0, w, count), rng.integers(0, h, count)
    x, y = np.arange(w)[None], np.arange(h)[:, None]
    nearest = np.full((h, w), 1 << 30)
    second = nearest.copy()
    owner = np.zeros((h, w), np.int64)
    for k in range(count):
        distance = (x - px[k]) ** 2 + (y - py[k]) ** 2
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        owner[closer] = k
        nearest = np.minimum(nearest, distance)
    base = np.asarray([random_colour(rng, 30) for _ in range(count)])
    if rng.random() < 0.6:
        base = (base + np.asarray(random_colour(rng, 30)) * 3) // 4
    cells = base[owner]
    cells[second - nearest < int(rng.integers(4, 40))] //= 2
    image = Image.fromarray(cells.astype(np.uint8))
    return image.resize((width, height), Image.Resampling.BILINEAR)


def jumble(rng: Generator, width: int, height: int) -> Image.Image:
    """Return overlapping flat shapes without a name: papers, rugs, blurred clutter."""
    image = cloudy(rng, width, height)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 16))):
        cx, cy = int(rng.integers(width)), int(rng.integers(height))
        reach = int(rng.integers(16, max(17, min(width, height) // 2)))
        corners = [
            (cx + int(rng.integers(-reach, reach)), cy + int(rng.integers(-reach, reach)))
            for _ in range(int(rng.integers(3, 7)))
        ]
        draw.polygon(corners, fill=random_colour(rng))
    return image.resize((max(1, width // 3), max(1, height // 3)), Image.Resampling.BOX).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def _floor(rng: Generator, width: int, height: int) -> Image.Image:
    """Return a tiled or planked floor seen in perspective, far edge on top."""
    y = np.arange(height, dtype=np.float64)[:, None]
    x = np.arange(width, dtype=np.float64)[None] - float(rng.integers(width))
    depth = float(height) / (y + float(height) * 0.15)
    side = float(rng.integers(20, 90))
    u = np.floor(x * depth / side).astype(np.int64)
    v = np.floor(depth * float(rng.integers(3, 9))).astype(np.int64)
    grey = ((u + v) % 2) * 200 if rng.random() < 0.5 else (u * 7 % 5) * 50
    grey = (grey * 3 + fractal(rng, width, height)) // 4
    return tint(grey, [random_colour(rng), random_colour(rng, 60)])


def room(rng: Generator, width: int, height: int) -> Image.Image:
    """Return a wall above a floor or table seen in perspective."""
    horizon = height * int(rng.integers(35, 75)) // 100
    wall = (plain, plain, gradient, cloudy, stripes, bricks)[int(rng.integers(6))]
    image = Image.new("RGB", (width, height))
    image.paste(wall(rng, width, horizon), (0, 0))
    floor = (_floor, _floor, wood, plain, grass)[int(rng.integers(5))]
    image.paste(floor(rng, width, height - horizon), (0, horizon))
    return image


def outdoors(rng: Generator, width: int, height: int) -> Image.Image:
    """Return a sky above ground, with a ragged line of hills between them."""
    horizon = height * int(rng.integers(25, 65)) // 100
    blue = (int(rng.integers(70, 190)), int(rng.integers(130, 210)), int(rng.integers(190, 256)))
    sky = tint(fractal(rng, width, height), [blue, blue, (235, 238, 242)])
    ground = (grass, grass, cloudy, voronoi, _floor)[int(rng.integers(5))](rng, width, height)
    line = horizon + (noise(rng, width, 2, int(rng.integers(3, 12)), 2)[0] - 128) // 6
    mask = (np.arange(height)[:, None] >= line[None]).astype(np.uint8) * 255
    return Image.composite(ground, sky, Image.fromarray(mask))


TEXTURES: dict[str, Texture] = {
    "plain": plain,
    "gradient": gradient,
    "noise": cloudy,
    "stripes": stripes,
    "checker": checker,
    "bricks": bricks,
    "wood": wood,
    "grass": grass,
    "voronoi": voronoi,
    "jumble": jumble,
}
GROUNDS: dict[str, Texture] = {**TEXTURES, "room": room, "outdoors": outdoors}
_WEIGHTS = {"plain": 2, "gradient": 2, "noise": 3, "wood": 2, "room": 4, "outdoors": 4}


def background(rng: Generator, width: int, height: int) -> tuple[Image.Image, str]:
    """Return an RGB ground of that size and its kind, a key of GROUNDS."""
    kinds = [kind for kind in GROUNDS for _ in range(_WEIGHTS.get(kind, 1))]
    kind = kinds[int(rng.integers(len(kinds)))]
    image = GROUNDS[kind](rng, width, height)
    if rng.random() < 0.5:
        light = noise(rng, width, height, 3, 3)[..., None] * int(rng.integers(10, 45)) // 100
        image = Image.fromarray(
            (np.asarray(image).astype(np.int32) * (256 - light) // 256).astype(np.uint8)
        )
    return image, kind
