"""Build the picture pack `data/pictures.zip`: named drawings with alpha, for the scene generator.

    pip install resvg_py==0.5.0
    npm pack @iconify/json@2.2.535 @lobehub/fluent-emoji-3d@1.1.0 emojibase-data@17.0.0
    (unpack each .tgz into its own folder PACKAGES/iconify, PACKAGES/fluent-3d, PACKAGES/emojibase)
    python recipes/nano/build_pictures.py PACKAGES data/pictures.zip

Only drawings under Apache-2.0, MIT or CC-BY-4.0 go in; attributions are in NOTICE.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import logging
import os
import re
import tomllib
import unicodedata
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageFilter

from fo1.data.pictures import COLOUR_WORDS, dominant_colour

ICONIFY_SETS = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fxemoji",
    "twemoji",
    "emojione",
)
STYLES = (*ICONIFY_SETS, "fluent-3d")
LINEAGES = {
    "noto": "noto",
    "noto-v1": "noto",
    "fluent-emoji": "fluent",
    "fluent-emoji-flat": "fluent",
    "fluent-3d": "fluent",
    "fxemoji": "fxemoji",
    "twemoji": "twemoji",
    "emojione": "emojione",
}
LICENCES = {
    "noto": "Apache-2.0",
    "noto-v1": "Apache-2.0",
    "fxemoji": "Apache-2.0",
    "fluent-emoji": "MIT",
    "fluent-emoji-flat": "MIT",
    "fluent-3d": "MIT",
    "twemoji": "CC-BY-4.0",
    "emojione": "CC-BY-4.0",
}
SKIN_TONES = {  # CLDR word: (slug ending, Fluent slug ending, code point)
    "medium-light": ("medium-light-skin-tone", "medium-light", "1f3fc"),
    "medium": ("medium-skin-tone", "medium", "1f3fd"),
    "medium-dark": ("medium-dark-skin-tone", "medium-dark", "1f3fe"),
}
TABLE = tomllib.loads(Path(__file__).with_name("picture_concepts.toml").read_text("utf-8"))
RULES = TABLE["rules"]
APOSTROPHE = "\u2019"  # as in the labels of emojibase
HELD_OUT_CONCEPTS = 50
COPY_DISTANCE = 6.0  # mean absolute difference of 24-px thumbnails, grey levels of 255
LOG = logging.getLogger("build_pictures")


@dataclass(slots=True)
class Concept:
    """One named thing and the emoji labels that draw it."""

    name: str
    labels: list[str]
    synonyms: list[str]
    kinds: list[str]
    group: str
    lookalikes: set[str] = field(default_factory=set[str])


def slugify(text: str) -> str:
    """Returns `text` as lower-case ASCII words joined by hyphens."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text.replace("'", "").replace(".", "")).strip("-")


def read_concepts() -> list[Concept]:
    """Returns the concepts of the hand-made table, look-alikes attached."""
    by_name: dict[str, Concept] = {}
    for group, table in TABLE["concepts"].items():
        kind = TABLE["default_kind"].get(group)
        for name, text in table.items():
            parts = [part.strip() for part in text.split(";")] + ["", ""]
            labels = [part.strip().replace("*", name) for part in parts[0].split("|")]
            synonyms = [s.strip() for s in parts[1].split(",") if s.strip()]
            kinds = [s.strip() for s in parts[2].split(",") if s.strip()]
            if kind and kind not in kinds and name not in TABLE["no_default_kind"][group]:
                kinds.append(kind)
            if name in by_name:
                raise SystemExit(f"{name!r} occurs twice in picture_concepts.toml")
            by_name[name] = Concept(name, labels, synonyms, kinds, group)
    for cluster in RULES["lookalikes"]:
        for word in by_name.keys() & set(cluster):
            by_name[word].lookalikes.update(set(cluster) - {word})
    for concept in by_name.values():
        for kind in (TABLE["parts_of_group"].get(concept.group, ""), *concept.kinds):
            concept.lookalikes.update(TABLE["parts"].get(kind, ()))
        if concept.group == "people":
            concept.lookalikes.update(TABLE["concepts"]["clothing"])
        concept.lookalikes -= {concept.name, *concept.synonyms, *concept.kinds}
    return list(by_name.values())


def emoji_by_label(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns emojibase's records by their English label."""
    records = json.loads((folder / "en" / "data.json").read_text("utf-8"))
    return {record["label"].replace("'", APOSTROPHE): record for record in records}


def svg_of(icon_set: dict[str, Any], key: str) -> str | None:
    """Returns the SVG text of an icon, aliases followed, or None when the set lacks it."""
    alias = icon_set.get("aliases", {}).get(key)
    if alias is not None:
        if len(alias) > 1:  # flipped or turned: the picture is in the pack already
            return None
        key = alias["parent"]
    icon = icon_set["icons"].get(key)
    if icon is None:
        return None
    width = icon.get("width", icon_set.get("width", 16))
    height = icon.get("height", icon_set.get("height", 16))
    left, top = icon.get("left", 0), icon.get("top", 0)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">'
        f"{icon['body']}</svg>"
    )


def keys_of(style: str, concept: Concept) -> Iterator[tuple[str, str]]:
    """Yields (icon name, skin tone word or "") of a concept in an Iconify set."""
    if [style, concept.name] in RULES["wrong"]:
        return
    if style == "fxemoji":
        names = TABLE["fxemoji"].get(concept.name)
        if names is None:
            names = tuple(slugify(label).replace("-", "") for label in concept.labels)
        yield from ((name, "") for name in names)
        return
    for label in concept.labels:
        slug = slugify(label.replace(APOSTROPHE, ""))
        yield slug, ""
        if style == "emojione":
            yield f"{slug}-face", ""
            yield f"{slug.removesuffix('-face')}-face", ""
            yield (
                {
                    "hourglass-done": "hourglass",
                    "laptop": "laptop-computer",
                    "backpack": "school-backpack",
                    "bullseye": "direct-hit",
                }.get(slug, slug),
                "",
            )
        if concept.name in RULES["skin_toned"] and not style.startswith("noto-v1"):
            for tone, (ending, fluent_ending, _) in SKIN_TONES.items():
                end = fluent_ending if style.startswith("fluent") else ending
                head, _, tail = label.partition(": ")
                yield "-".join(filter(None, (slugify(head), end, slugify(tail)))), tone


@dataclass(frozen=True, slots=True)
class Job:
    """One drawing to render: SVG text or the path of a raster file."""

    concept: int
    style: str
    source: str
    is_file: bool


def shaded_files(folder: Path, record: dict[str, Any], toned: bool) -> Iterator[Path]:
    """Yields the 3-D rendering of an emoji and, when `toned`, those in three skin tones."""
    codes = [record["hexcode"].lower()]
    if toned:
        tones = tuple(code for *_, code in SKIN_TONES.values())
        skins = [skin["hexcode"].lower() for skin in record.get("skins", [])]
        codes += [code for code in skins if any(tone in code for tone in tones)]
    for code in codes:
        bare = code.replace("-fe0f", "")
        for name in (bare, f"{bare}-fe0f", bare.replace("-200d", "-fe0f-200d")):
            if (folder / f"{name}.webp").exists():
                yield folder / f"{name}.webp"
                break


def collect(packages: Path, concepts: list[Concept]) -> list[Job]:
    """Returns every drawing of every concept, in the order concept, style, label."""
    sets = {
        style: json.loads((packages / "iconify" / "json" / f"{style}.json").read_text("utf-8"))
        for style in ICONIFY_SETS
    }
    for style, collection in json.loads(
        (packages / "iconify" / "collections.json").read_text("utf-8")
    ).items():
        if style in sets and collection["license"]["spdx"] != LICENCES[style]:
            raise SystemExit(f"{style}: licence is {collection['license']['spdx']}")
    labels = emoji_by_label(packages / "emojibase")
    jobs: list[Job] = []
    for number, concept in enumerate(concepts):
        for style in ICONIFY_SETS:
            seen: set[str] = set()
            for key, _ in keys_of(style, concept):
                svg = svg_of(sets[style], key)
                if svg is not None and svg not in seen:
                    seen.add(svg)
                    jobs.append(Job(number, style, svg, False))
        for label in concept.labels:
            record = labels.get(label)
            if record is None:
                raise SystemExit(f"{concept.name}: no emoji is labelled {label!r}")
            toned = concept.name in RULES["skin_toned"]
            for path in shaded_files(packages / "fluent-3d" / "assets", record, toned):
                jobs.append(Job(number, "fluent-3d", str(path), True))
    return jobs


def render(job: Job, size: int) -> Image.Image | None:
    """Returns the drawing cropped to its visible pixels, long side `size`, or None if empty."""
    if job.is_file:
        image = Image.open(job.source).convert("RGBA")
    else:
        data = resvg_py.svg_to_bytes(svg_string=job.source, width=size * 2)
        if isinstance(data, str):
            data = base64.b64decode(data)
        image = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    box = image.getchannel("A").point(lambda value: 255 if value > 24 else 0).getbbox()
    if box is None:
        return None
    image = image.crop(box)
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(shape, Image.Resampling.LANCZOS)


def thumbnail(image: Image.Image) -> np.ndarray:
    """Returns a (24, 24, 4) float32 thumbnail on white plus alpha, for finding copies."""
    small = image.resize((24, 24), Image.Resampling.BOX)
    white = Image.new("RGBA", small.size, "white")
    white.alpha_composite(small)
    white = white.convert("RGB").filter(ImageFilter.BoxBlur(1))
    return np.dstack([np.asarray(white), np.asarray(small.getchannel("A"))]).astype(np.float32)


def encode(job: Job, size: int, quality: int) -> tuple[bytes, int, int, str, np.ndarray] | None:
    """Returns (WebP bytes, width, height, colour word, thumbnail) of one drawing."""
    image = render(job, size)
    if image is None:
        return None
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, alpha_quality=60, method=6)
    stored = Image.open(io.BytesIO(buffer.getvalue())).convert("RGBA")
    return buffer.getvalue(), *image.size, dominant_colour(stored), thumbnail(stored)


def drop_copies(
    jobs: list[Job], thumbs: list[np.ndarray], order: tuple[str, ...]
) -> tuple[list[int], dict[str, int]]:
    """Returns the indices to keep and, per pair of styles, how many copies were dropped.

    Drawings of one concept are compared; the style that comes first in `order` stays.
    """
    by_concept: dict[int, list[int]] = {}
    for index, job in enumerate(jobs):
        by_concept.setdefault(job.concept, []).append(index)
    keep: list[int] = []
    dropped: dict[str, int] = {}
    for members in by_concept.values():
        kept: list[int] = []
        for index in sorted(members, key=lambda i: order.index(jobs[i].style)):
            twin = next(
                (k for k in kept if np.abs(thumbs[k] - thumbs[index]).mean() < COPY_DISTANCE), None
            )
            if twin is None:
                kept.append(index)
            else:
                pair = f"{jobs[index].style} of {jobs[twin].style}"
                dropped[pair] = dropped.get(pair, 0) + 1
        keep += kept
    return sorted(keep), dropped


def choose_held_out(concepts: list[Concept], pictures: list[int]) -> set[int]:
    """Returns 50 concepts to hold out: well drawn, not common, nobody's broad name."""
    common = set(RULES["common"])
    broad = {kind for concept in concepts for kind in concept.kinds}
    by_group: dict[str, list[int]] = {}
    for number, concept in enumerate(concepts):
        names = {concept.name, *concept.synonyms}
        if pictures[number] >= 4 and not names & common and concept.name not in broad:
            by_group.setdefault(concept.group, []).append(number)
    rng = np.random.default_rng(20251122)
    total = sum(map(len, by_group.values()))
    chosen: list[int] = []
    for members in by_group.values():
        share = round(HELD_OUT_CONCEPTS * len(members) / total)
        chosen += [int(n) for n in rng.permutation(members)[:share]]
    rest = [n for members in by_group.values() for n in members if n not in chosen]
    while len(chosen) < HELD_OUT_CONCEPTS:
        chosen.append(rest.pop(int(rng.integers(len(rest)))))
    return set(chosen[:HELD_OUT_CONCEPTS])


def write_pack(path: Path, index: dict[str, Any], files: list[bytes]) -> None:
    """Writes the zip; the same input gives the same bytes.

    The file is replaced at once, so that a process which reads the old one can go on.
    """
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo("index.json", (1980, 1, 1, 0, 0, 0))
        text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
        archive.writestr(info, text.encode(), zipfile.ZIP_DEFLATED)
        for number, data in enumerate(files):
            archive.writestr(zipfile.ZipInfo(f"{number}.webp", (1980, 1, 1, 0, 0, 0)), data)
    os.replace(part, path)


def main() -> None:
    """Reads the command line and builds the pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    concepts = read_concepts()
    jobs = collect(arguments.packages, concepts)
    LOG.info("%d concepts, %d drawings found", len(concepts), len(jobs))
    with ProcessPoolExecutor(arguments.workers) as pool:
        count = len(jobs)
        results = list(
            pool.map(
                encode, jobs, [arguments.size] * count, [arguments.quality] * count, chunksize=32
            )
        )
    pairs = [(job, result) for job, result in zip(jobs, results, strict=True) if result]
    jobs = [job for job, _ in pairs]
    done = [result for _, result in pairs]
    # The held-out lineage comes first, so a training drawing that copies it is the one to go.
    order = (
        "twemoji",
        "noto",
        "fluent-3d",
        "fluent-emoji",
        "fluent-emoji-flat",
        "fxemoji",
        "noto-v1",
        "emojione",
    )
    keep, dropped = drop_copies(jobs, [result[4] for result in done], order)
    LOG.info("copies dropped: %s", dropped)
    numbers = [sum(jobs[i].concept == n for i in keep) for n in range(len(concepts))]
    for number, concept in enumerate(concepts):
        if numbers[number] < 3:
            LOG.info("few drawings: %s %d", concept.name, numbers[number])
    held_out = choose_held_out(concepts, numbers)
    LOG.info("held out: %s", ", ".join(sorted(concepts[n].name for n in held_out)))
    index = {
        "format": 1,
        "styles": [
            {"name": style, "lineage": LINEAGES[style], "licence": LICENCES[style]}
            for style in STYLES
        ],
        "colours": ["", *COLOUR_WORDS],
        "concepts": [
            {
                "slug": slugify(c.name),
                "name": c.name,
                "synonyms": c.synonyms,
                "kinds": c.kinds,
                "lookalikes": sorted(c.lookalikes),
                "group": c.group,
                "held_out": n in held_out,
            }
            for n, c in enumerate(concepts)
        ],
        # [concept, style, width, height, colour], each a position in the lists above
        "pictures": [
            [
                jobs[i].concept,
                STYLES.index(jobs[i].style),
                done[i][1],
                done[i][2],
                ["", *COLOUR_WORDS].index(done[i][3]),
            ]
            for i in keep
        ],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_pack(arguments.out, index, [done[i][0] for i in keep])
    LOG.info("%d pictures, %d bytes", len(keep), arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
