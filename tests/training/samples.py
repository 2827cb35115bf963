"""Samples made by hand for the tests of training."""

from dataclasses import replace

import numpy as np
from tests import tiny

from fo1 import prompts, tags
from fo1.data.sample import UNKNOWN, Dialogue, Query, Sample
from fo1.layout import query_branch


def listing(name: str, *regions: int) -> str:
    told = "".join(map(tags.region_token, regions)) or tags.NONE_TEXT
    return f"{query_branch(name)}{told}{tags.OBJECTS_CLOSE}"


def scene(seed: int, regions: int = 3, width: int = 112, height: int = 84) -> Sample:
    """A picture with regions, queries and a dialogue of several tasks."""
    rng = np.random.default_rng(seed)
    targets = [rng.integers(0, 2, regions).astype(np.float32) for _ in range(2)]
    targets.append(np.full(regions, UNKNOWN, np.float32))
    names = [("cup", "mug"), ("dog",), (), ("cat", "animal")]
    return Sample(
        key=f"scene{seed}",
        images=(tiny.picture(width, height, seed),),
        boxes=(tiny.boxes(regions, width, height, seed),),
        queries=(
            Query("cup", targets[0]),
            Query("the big dog on the left", targets[1], "refer"),
            Query("thing", targets[2]),
        ),
        dialogues=(
            Dialogue(
                ((prompts.detect(["cup", "dog"]), listing("cup", 0) + listing("dog")),), "detect"
            ),
            Dialogue(((prompts.describe([1]), "a dog"),), "describe"),
            Dialogue((("What is <region0>?", "A cup."), ("And <region2>?", "A cat.")), "general"),
        ),
        names=tuple(names[region % 4] for region in range(regions)),
    )


def text(seed: int = 0) -> Sample:
    """A conversation without a picture."""
    turns = (("What is two and two?", "Four."), ("And three?", f"Seven, sample {seed}."))
    return Sample(f"text{seed}", (), (), (), (Dialogue(turns, "general"),))


def bare(seed: int) -> Sample:
    """A picture without regions."""
    found = scene(seed, regions=3)
    none = np.zeros((0, 4), np.float32)
    dialogue = Dialogue((("What is this?", "A picture."),), "general")
    return replace(
        found, key=f"bare{seed}", boxes=(none,), queries=(), dialogues=(dialogue,), names=()
    )


def pair(seed: int) -> Sample:
    """Two pictures that are talked about together; regions count on."""
    one, two = scene(seed), scene(seed + 100, regions=2, width=84, height=112)
    targets = np.array([1, 0, 0, 1, 0], np.float32)
    return Sample(
        key=f"pair{seed}",
        images=one.images + two.images,
        boxes=one.boxes + two.boxes,
        queries=(Query("cup", targets),),
        dialogues=(Dialogue((("Is <region0> like <region4>?", "Yes."),), "general"),),
        names=one.names + two.names,
    )
