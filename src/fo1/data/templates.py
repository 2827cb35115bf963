"""Further wordings of the questions, so that a model learns what is asked and not one sentence.

The first wording of every task is the published one (`fo1.prompts`); these are ours.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

WORDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "detect": (
        "Find every {} in the picture and name the regions.",
        "Which regions show {}?",
        "Mark all instances of: {}.",
        "Where can you see {}? Answer with regions.",
    ),
    "refer": (
        "Which region is meant by: {}?",
        "Point to {} by its region.",
        "Find {}.",
        "Show me {}. Answer with the region.",
    ),
    "count": (
        "Count the {}. List their regions, then say how many there are.",
        "What is the number of {}? Name each region first.",
        "How many {} can you find? List them, then give the number.",
        "List each of the {} by its region and say how many that makes.",
    ),
    "describe, brief": (
        "What is in {}?",
        "Say what {} shows.",
        "Tell me in short what you see in {}.",
        "Describe {} in a few words.",
    ),
    "describe, detailed": (
        "Describe {} and leave nothing out.",
        "What can be seen in {}? Go into detail.",
        "Tell me all that you can about {}.",
        "Give a full account of {}.",
    ),
    "read": (
        "What does the text in {} say?",
        "Read {}.",
        "Which words are written in {}?",
        "Copy out the writing in {}.",
    ),
    "ground": (
        "Say what is in the picture and name the region of each thing.",
        "Describe the picture; ground every thing that you mention.",
        "What can be seen here? Give the region of whatever you name.",
        "Tell me about the picture in a few words, each thing with its region.",
    ),
    "similar": (
        "Which other regions show the same kind of thing as {}?",
        "Find all things like {}.",
        "{} is an example. Where are the others of its kind?",
        "Name every region, apart from {} itself, that shows one of the same sort.",
    ),
}


def wording(task: str, published: str, slot: str, several: bool, rng: np.random.Generator) -> str:
    """Return a question: the published wording about half of the time, else another.

    Args:
        task: the value of a `fo1.prompts.Task`; a description also has its detail.
        published: the question in its published wording.
        slot: what stands in its place in the others.
        several: whether others may be drawn.
        rng: source of chance.
    """
    others = WORDINGS.get(task, ())
    if not several or not others or rng.random() < 0.5:
        return published
    return others[int(rng.integers(len(others)))].format(slot)
