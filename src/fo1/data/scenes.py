"""Deterministic scenes of named drawings with exact boxes: the training pictures of `nano`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from fo1.data import compositing
from fo1.data.backgrounds import TEXTURES, background
from fo1.data.compositing import LEAST_SIDE, MOST_SIDE, VISIBLE_ALPHA, Box, Layer
from fo1.data.pictures import Concept, PictureInfo, PicturePack
from fo1.data.solids import PAINTS, SOLIDS, SolidPainter
from fo1.errors import InputError

HELD_OUT_LINEAGE = "twemoji"
LEAST_THINGS = 3


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One named thing in a scene.

    Attributes:
        box: float xyxy, pixels of the scene; the tight box of the pixels that can be seen.
        concept: slug of the concept.
        name: its plain English name.
        names: every name that is true of it: `name`, synonyms, broader names ("animal").
        unsure: names it might be taken for, or that a part of it has; neither true nor false.
        style: drawing style, or "solid" for a rendered body.
        colour: word of COLOUR_WORDS, or "" when no colour dominates.
        visible: fraction of the thing's own pixels that can be seen, 0.4 to 1.
    """

    box: Box
    concept: str
    name: str
    style: str
    colour: str
    visible: float
    names: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and everything that is in it.

    Attributes:
        image: RGB.
        objects: the named things.
        distractors: boxes (float xyxy) of pasted patches that are no thing.
        background: kind of the ground.
        seed: together with `index`: where the scene came from.
        index: see `seed`.
    """

    image: Image.Image
    objects: tuple[SceneObject, ...]
    distractors: tuple[Box, ...]
    background: str
    seed: int
    index: int


class SceneGenerator:
    """Draws scene `index` of a seed: `generator(seed, index)`.

    The same pack, settings, seed and index give the same picture and boxes in every process.
    By default it draws what training may see: every lineage but the held-out one, every concept
    but the held-out ones.
    """

    def __init__(
        self,
        pack: PicturePack,
        *,
        lineages: Iterable[str] | None = None,
        concepts: Iterable[str] | None = None,
        size: tuple[int, int] = (256, 640),
        solids: float = 0.1,
    ) -> None:
        """Choose the pictures to draw with.

        Args:
            pack: the picture pack.
            lineages: drawing lineages to use (None: all but `HELD_OUT_LINEAGE`).
            concepts: slugs to use (None: all that are not held out).
            size: shortest and longest long side of a scene, pixels.
            solids: share of things that are rendered solids rather than drawings.

        Raises:
            InputError: an unknown lineage or concept, nothing to draw, or an unusable size.
        """
        if not 96 <= size[0] <= size[1]:
            raise InputError(f"scene size is {size}, expected (least >= 96, most >= least)")
        if lineages is None:
            lineages = sorted(set(pack.lineages.values()) - {HELD_OUT_LINEAGE})
        if concepts is None:
            concepts = [slug for slug in pack.concepts if slug not in pack.held_out]
        pictures: dict[str, list[PictureInfo]] = {}
        for info in pack.select(lineages=lineages, concepts=concepts):
            pictures.setdefault(info.concept, []).append(info)
        if not pictures:
            raise InputError("no picture is left with these lineages and concepts; choose more")
        self.pack = pack
        self.size = size
        self.solids = solids
        self.concepts: Mapping[str, Concept] = MappingProxyType(
            {slug: pack.concepts[slug] for slug in pictures} | (dict(SOLIDS) if solids > 0 else {})
        )
        self._pictures = pictures
        self._slugs = tuple(pictures)
        self._painter = SolidPainter()

    def __call__(self, seed: int, index: int) -> Scene:
        """Return scene `index` of `seed`."""
        rng = np.random.Generator(np.random.PCG64([seed, index]))
        long = int(rng.integers(self.size[0], self.size[1] + 1))
        short = long * int(rng.integers(56, 101)) // 100
        width, height = (long, short) if rng.random() < 0.65 else (short, long)
        image, kind = background(rng, width, height)
        layers = compositing.resolve_occlusion(self._place(rng, width, height), width, height)
        while sum(layer.thing is not None for layer in layers) < LEAST_THINGS:
            layers = compositing.resolve_occlusion(self._place(rng, width, height), width, height)
        image = compositing.paint(rng, image, layers)
        image = compositing.camera(rng, image)
        objects = tuple(self._named(layer) for layer in layers if layer.thing is not None)
        others = tuple(layer.box for layer in layers if layer.thing is None)
        return Scene(image, objects, others, kind, seed, index)

    def _named(self, layer: Layer) -> SceneObject:
        """Return the named thing that a layer shows."""
        slug, style, colour = layer.thing or ("", "", "")
        concept = self.concepts[slug]
        return SceneObject(
            layer.box,
            slug,
            concept.name,
            style,
            colour,
            layer.visible,
            concept.names,
            concept.lookalikes,
        )

    def _cast(self, rng: Generator) -> list[tuple[str, int | str]]:
        """Return what is to appear: (concept slug, picture number or solid's colour)."""
        target = int(rng.integers(3, 15))
        cast: list[tuple[str, int | str]] = []
        while len(cast) < target:
            repeat = 1
            if rng.random() < 0.3:
                repeat = min(int(rng.integers(2, 7)), target - len(cast))
            if rng.random() < self.solids:
                slug = tuple(SOLIDS)[int(rng.integers(len(SOLIDS)))]
                colour = tuple(PAINTS)[int(rng.integers(len(PAINTS)))]
                mixed = rng.random() < 0.6
                for _ in range(repeat):
                    cast.append((slug, colour))
                    if mixed:
                        colour = tuple(PAINTS)[int(rng.integers(len(PAINTS)))]
                continue
            slug = self._slugs[int(rng.integers(len(self._slugs)))]
            choice = self._choose(rng, slug)
            mixed = rng.random() < 0.5
            for _ in range(repeat):
                cast.append((slug, choice))
                if mixed:
                    choice = self._choose(rng, slug)
        return [cast[int(i)] for i in rng.permutation(len(cast))]

    def _choose(self, rng: Generator, slug: str) -> int:
        """Return a picture of the concept; shaded ones a little more often."""
        infos = self._pictures[slug]
        shaded = [info for info in infos if info.style == "fluent-3d"]
        if shaded and rng.random() < 0.2:
            infos = shaded
        return infos[int(rng.integers(len(infos)))].index

    def _place(self, rng: Generator, width: int, height: int) -> list[Layer]:
        """Return the patches of a scene, bottom first, before occlusion."""
        cast: list[tuple[str, int | str] | None] = list(self._cast(rng))
        things = len(cast)
        for _ in range(int(rng.integers(0, 6))):
            cast.insert(int(rng.integers(len(cast) + 1)), None)
        short = min(width, height)
        largest = min(float(MOST_SIDE), short * 0.8, math.sqrt(width * height * 1.1 / things))
        base = LEAST_SIDE * 1.4 * (largest / (LEAST_SIDE * 1.4)) ** float(rng.uniform(0.25, 1.0))
        spread = float(rng.uniform(1.05, 2.2))
        upright = rng.random() < 0.4
        softness = float(rng.uniform(0, 1.3))
        crowding = float(rng.uniform(0, 0.6))
        spots, room = compositing.wished_places(rng, len(cast), width, height)
        layers: list[Layer] = []
        for entry, spot in zip(cast, spots, strict=True):
            side = base * spread ** float(rng.uniform(-1, 1))
            side = int(min(max(side, LEAST_SIDE), MOST_SIDE, short * 0.95, room))
            thing: tuple[str, str, str] | None = None
            if entry is None:
                patch = self._distractor(rng)
            elif isinstance(entry[1], str):
                patch = self._painter.paint(rng, entry[0], entry[1])
                thing = (entry[0], "solid", entry[1])
            else:
                info = self.pack.infos[entry[1]]
                patch = self.pack.picture(info.index)
                thing = (info.concept, info.style, info.colour)
            patch = compositing.transform(rng, patch, side, upright, softness)
            left, top = compositing.settle(rng, patch.size, layers, width, height, crowding, spot)
            layers.append(Layer(patch, left, top, thing))
        return layers

    def _distractor(self, rng: Generator) -> Image.Image:
        """Return an RGBA patch that is no thing: a texture or a scrambled drawing in a shape."""
        side = 128
        if rng.random() < 0.3:
            slug = self._slugs[int(rng.integers(len(self._slugs)))]
            source = self.pack.picture(self._choose(rng, slug)).resize((side, side))
            flat = Image.new("RGBA", source.size, tuple(rng.integers(0, 256, 3).tolist()))
            flat.alpha_composite(source)
            tiles = np.asarray(flat.convert("RGB")).reshape(8, 16, 8, 16, 3).swapaxes(1, 2)
            order = rng.permutation(64)
            mixed = tiles.reshape(64, 16, 16, 3)[order].reshape(8, 8, 16, 16, 3).swapaxes(1, 2)
            body = Image.fromarray(np.ascontiguousarray(mixed.reshape(side, side, 3)))
            body = body.filter(ImageFilter.GaussianBlur(2))
        else:
            kinds = tuple(TEXTURES)
            body = TEXTURES[kinds[int(rng.integers(len(kinds)))]](rng, side, side)
        body.putalpha(compositing.blob(rng, side))
        box = body.getchannel("A").point([255 * (v >= VISIBLE_ALPHA) for v in range(256)]).getbbox()
        return body.crop(box) if box else body
