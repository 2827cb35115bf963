"""Perceptual hashes: is this picture a copy, or a part, of a picture we must not train on?

Two hashes of different kinds are compared together, because each alone takes unlike flat pictures
for copies: signs of low frequencies (pHash) and signs of horizontal differences (dHash).

Source: both hashes are common knowledge; see N. Krawetz, "Looks Like It" (2011) and "Kind of Like
That" (2013), hackerfactor.com.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fo1.errors import InputError

NEAR_PHASH = 12  # of 64 bits
NEAR_DHASH = 14
FLAT = 8.0  # standard deviation in grey levels below which a hash says nothing


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A 64-bit pHash and a 64-bit dHash of one picture."""

    phash: int
    dhash: int

    def near(self, other: PerceptualHash) -> bool:
        """Return whether both hashes are close enough for one picture to be a copy of the other."""
        return (self.phash ^ other.phash).bit_count() <= NEAR_PHASH and (
            self.dhash ^ other.dhash
        ).bit_count() <= NEAR_DHASH

    def __str__(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{self.phash:016x}{self.dhash:016x}"

    @classmethod
    def parse(cls, text: str) -> PerceptualHash:
        """Return the hash written by `str`.

        Raises:
            InputError: the text is not 32 hexadecimal digits.
        """
        if len(text) != 32 or set(text) - set("0123456789abcdef"):
            raise InputError(f"a hash has 32 hexadecimal digits, got {len(text)}: {text[:40]!r}")
        return cls(int(text[:16], 16), int(text[16:], 16))


def _pack(bits: NDArray[np.bool_]) -> int:
    """Return 64 bits (8, 8) as an integer."""
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")


def flatten(image: Image.Image) -> Image.Image:
    """Return the picture in grey, transparent parts white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("L")


def perceptual_hash(image: Image.Image) -> PerceptualHash | None:
    """Return the hashes of a picture, or None when it is too flat to tell from another."""
    grey = flatten(image)
    small = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    if float(small.std()) < FLAT:
        return None
    steps = np.arange(32)
    basis = np.cos(np.pi / 32 * (steps[None] + 0.5) * np.arange(1, 9)[:, None])
    low = basis @ small @ basis.T
    slim = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int32)
    return PerceptualHash(_pack(low > np.median(low)), _pack(slim[:, 1:] > slim[:, :-1]))


def views(image: Image.Image) -> Iterator[Image.Image]:
    """Yield the picture, trimmed versions, halves and nine quarters, each also mirrored."""
    width, height = image.size
    boxes = [(0, 0, 20, 20), (0, 0, 19, 19), (1, 0, 20, 19), (0, 1, 19, 20), (1, 1, 20, 20)]
    boxes += [(0, 0, 10, 20), (10, 0, 20, 20), (0, 0, 20, 10), (0, 10, 20, 20)]
    boxes += [(x, y, x + 10, y + 10) for y in (0, 5, 10) for x in (0, 5, 10)]
    for x0, y0, x1, y1 in boxes:
        part = image.crop(
            (width * x0 // 20, height * y0 // 20, width * x1 // 20, height * y1 // 20)
        )
        yield part
        yield ImageOps.mirror(part)


@dataclass(frozen=True, slots=True)
class EvaluationPicture:
    """File name, source and hashes of all views of a picture that is only for evaluation."""

    file: str
    source: str
    hashes: tuple[PerceptualHash, ...]


def read_evaluation_pictures(path: str | os.PathLike[str]) -> tuple[EvaluationPicture, ...]:
    """Return the list of evaluation pictures stored as JSON.

    Raises:
        InputError: the file is missing or is not such a list.
    """
    try:
        entries = json.loads(Path(path).read_text("utf-8"))["pictures"]
        return tuple(
            EvaluationPicture(
                entry["file"], entry["source"], tuple(map(PerceptualHash.parse, entry["hashes"]))
            )
            for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read hashes from {path} ({error}): write them with "
            "recipes/nano/hash_evaluation_pictures.py"
        ) from error


def find_copy(
    image: Image.Image, pictures: Sequence[EvaluationPicture]
) -> EvaluationPicture | None:
    """Return the evaluation picture that `image` copies, in whole or in part, or None."""
    own = perceptual_hash(image)
    if own is None:
        return None
    return next((p for p in pictures if any(own.near(other) for other in p.hashes)), None)
