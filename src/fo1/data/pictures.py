"""The picture pack: named drawings with alpha, read lazily from one zip."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from fo1.errors import InputError

COLOUR_WORDS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)


@dataclass(frozen=True, slots=True)
class Concept:
    """A named thing.

    Attributes:
        slug: identifier, "hot-dog".
        name: plain English noun phrase, "hot dog".
        synonyms: other names of the same thing.
        kinds: broader names that are true of it as well ("bird", "animal" for a duck).
        lookalikes: names a drawing of it may be taken for; unsure, so never asked beside it.
        group: "animals", "plants", "food", "places", "vehicles", "sky", "activities", "clothing",
            "objects", "people" or "solids".
        held_out: kept out of training.
    """

    slug: str
    name: str
    synonyms: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    lookalikes: tuple[str, ...] = ()
    group: str = "objects"
    held_out: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that is true of the thing: its own, synonyms, kinds."""
        return (self.name, *self.synonyms, *self.kinds)


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """What the index says about one picture; `colour` is a word of COLOUR_WORDS or ""."""

    index: int
    concept: str
    style: str
    lineage: str
    width: int
    height: int
    colour: str


class PicturePack:
    """Pictures by number; safe to use from several threads and after a fork."""

    def __init__(self, path: Path, index: Mapping[str, Any]) -> None:
        """Keep the parsed index; use `open`."""
        self.path = path
        styles = index["styles"]
        colours = index["colours"]
        self.concepts: Mapping[str, Concept] = MappingProxyType(
            {
                entry["slug"]: Concept(
                    entry["slug"],
                    entry["name"],
                    tuple(entry["synonyms"]),
                    tuple(entry["kinds"]),
                    tuple(entry["lookalikes"]),
                    entry["group"],
                    entry["held_out"],
                )
                for entry in index["concepts"]
            }
        )
        slugs = tuple(self.concepts)
        self.lineages: Mapping[str, str] = MappingProxyType(
            {style["name"]: style["lineage"] for style in styles}
        )
        self.licences: Mapping[str, str] = MappingProxyType(
            {style["name"]: style["licence"] for style in styles}
        )
        self.infos: tuple[PictureInfo, ...] = tuple(
            PictureInfo(
                number,
                slugs[concept],
                styles[style]["name"],
                styles[style]["lineage"],
                width,
                height,
                colours[colour],
            )
            for number, (concept, style, width, height, colour) in enumerate(index["pictures"])
        )
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        self._owner = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> PicturePack:
        """Return the pack at `path`, by default `data/pictures.zip` of the checkout.

        Raises:
            InputError: there is no pack at that place, or the file is not one.
        """
        if path is None:
            target = Path(__file__).resolve().parents[3] / "data" / "pictures.zip"
        else:
            target = Path(path)
        try:
            with zipfile.ZipFile(target) as archive:
                index = json.loads(archive.read("index.json"))
        except FileNotFoundError:
            raise InputError(
                f"no picture pack at {target}: it is in a checkout of the repository, not in the "
                "wheel; give its path, or build it with recipes/nano/build_pictures.py"
            ) from None
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise InputError(
                f"{target} is not a picture pack ({error}): build it again with "
                "recipes/nano/build_pictures.py"
            ) from error
        return cls(target, index)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.infos)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open file, so that a pack can be sent to a worker."""
        state = self.__dict__.copy()
        state.update(
            _lock=None,
            _archive=None,
            concepts=dict(self.concepts),
            lineages=dict(self.lineages),
            licences=dict(self.licences),
        )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pack sent to a worker."""
        self.__dict__.update(state)
        for name in ("concepts", "lineages", "licences"):
            setattr(self, name, MappingProxyType(state[name]))
        self._lock = threading.Lock()

    def picture(self, index: int) -> Image.Image:
        """Return picture `index` as an RGBA image cropped to its visible pixels."""
        with self._lock:
            if self._archive is None or self._owner != os.getpid():
                self._archive = zipfile.ZipFile(self.path)
                self._owner = os.getpid()
            data = self._archive.read(f"{index}.webp")
        return Image.open(io.BytesIO(data)).convert("RGBA")

    def select(
        self,
        *,
        lineages: Iterable[str] | None = None,
        styles: Iterable[str] | None = None,
        concepts: Iterable[str] | None = None,
    ) -> tuple[PictureInfo, ...]:
        """Return the pictures of the given lineages, styles and concept slugs (None: all).

        Raises:
            InputError: a lineage, style or concept the pack does not have.
        """
        chosen: list[set[str] | None] = []
        for word, wanted, known in (
            ("lineage", lineages, set(self.lineages.values())),
            ("style", styles, set(self.lineages)),
            ("concept", concepts, set(self.concepts)),
        ):
            values = None if wanted is None else set(wanted)
            if values is not None and values - known:
                raise InputError(
                    f"no {word} {sorted(values - known)[0]!r} in the picture pack; "
                    f"it has {', '.join(sorted(known)[:20])}"
                )
            chosen.append(values)
        by_lineage, by_style, by_concept = chosen
        return tuple(
            info
            for info in self.infos
            if (by_lineage is None or info.lineage in by_lineage)
            and (by_style is None or info.style in by_style)
            and (by_concept is None or info.concept in by_concept)
        )

    @property
    def held_out(self) -> frozenset[str]:
        """Slugs of the concepts kept out of training."""
        return frozenset(slug for slug, concept in self.concepts.items() if concept.held_out)


def dominant_colour(image: Image.Image) -> str:
    """Return the word for the colour of most visible pixels of an RGBA image, or ""."""
    small = image.resize((32, 32), Image.Resampling.BOX)
    visible = np.asarray(small.getchannel("A")) > 128
    if not visible.any():
        return ""
    hsv = np.asarray(small.convert("RGB").convert("HSV"))[visible].astype(np.int32)
    hue, saturation, value = hsv[:, 0] * 360 // 256, hsv[:, 1], hsv[:, 2]
    grey = (saturation < 40) | (value < 40)
    masks = {
        "red": ~grey & ((hue < 12) | (hue >= 345)) & (value >= 110),
        "orange": ~grey & (hue >= 18) & (hue < 38) & (value >= 200) & (saturation > 140),
        "yellow": ~grey & (hue >= 41) & (hue < 64) & (value >= 180) & (saturation > 90),
        "green": ~grey & (hue >= 72) & (hue < 165) & (value >= 60),
        "blue": ~grey & (hue >= 185) & (hue < 245) & (saturation > 80),
        "purple": ~grey & (hue >= 255) & (hue < 300),
        "pink": ~grey & (hue >= 305) & (hue < 345) & (value >= 190),
        "brown": ~grey & (hue >= 8) & (hue < 40) & (value < 170) & (saturation > 70),
        "black": (value < 64),
        "white": (saturation < 30) & (value >= 225),
        "gray": (saturation < 40) & (value >= 80) & (value < 205),
    }
    word, share = max(
        ((word, float(np.count_nonzero(mask)) / mask.size) for word, mask in masks.items()),
        key=lambda pair: pair[1],
    )
    return word if share >= 0.6 else ""
