"""Answers written word by word: what a region is called, and which regions show a name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fo1 import prompts
from fo1.evaluation.cases import NO_OBJECT, Case
from fo1.evaluation.metrics import Estimate, Floats, accuracy, estimate, f1
from fo1.evaluation.report import Table
from fo1.lexicon import normalise
from fo1.pipeline import Scene
from fo1.pipeline.chat import question, write

_ARTICLES = ("a", "an", "the")


@dataclass(slots=True)
class Written:
    """What one contestant wrote.

    Attributes:
        named: (picture, exactly a name of the thing, its own name).
        listed: (picture, right pairs of name and region, pairs written, pairs due).
        refused: (picture, no region written) for every absent name.
    """

    named: list[tuple[int, float, str]] = field(default_factory=list)
    listed: list[tuple[int, int, int, int]] = field(default_factory=list)
    refused: list[tuple[int, float]] = field(default_factory=list)

    def add(self, picture: int, case: Case, scene: Scene) -> None:
        """Asks for a description of every thing, then for a list of every name."""
        rows = np.flatnonzero(case.owner != NO_OBJECT)
        said = {item.region: item.text for item in scene.describe(rows.tolist())}
        for row in rows.tolist():
            thing = case.objects[case.owner[row]]
            right = is_name(said.get(row, ""), thing.names, thing.colour)
            self.named.append((picture, float(right), thing.name))
        due = {
            (name, row)
            for name in case.present
            for row in rows.tolist()
            if case.meant(name)[case.owner[row]]
        }
        doubtful = {
            (name, row)
            for name in case.names
            for row in rows.tolist()
            if case.unsure(name)[case.owner[row]]
        }
        pairs: set[tuple[str, int]] = set()
        for name in case.names:  # one at a time: a long list is not what it was trained on
            (said,) = write([question(scene, prompts.detect([name]))], scene.engine)
            regions = said.answer.regions
            pairs |= {(name, region) for region in regions}
            if name in case.absent:
                self.refused.append((picture, float(not regions)))
        pairs -= doubtful
        self.listed.append((picture, len(pairs & due), len(pairs), len(due)))


def is_name(text: str, names: tuple[str, ...], colour: str = "") -> bool:
    """Return whether a text is one of the names, but for an article and the thing's colour.

    Example:
        >>> is_name("A red apple.", ("apple", "fruit"), "red")
        True
    """
    words = normalise(text).split()
    if words and words[0] in _ARTICLES:
        words = words[1:]
    accepted = {normalise(name) for name in names}
    plain = words[1:] if colour and words[:1] == [colour] else words
    return " ".join(words) in accepted or " ".join(plain) in accepted


def tables(written: Mapping[str, Written], weights: Floats) -> list[Table]:
    """Return one table; none when nothing was written."""
    if not written:
        return []
    pictures = max(row[0] for one in written.values() for row in one.listed) + 1
    table = Table(
        "Written answers",
        ("description is exactly a name", "lists, F1", "none written, absent"),
        f"First {pictures} scenes, greedy, true and distractor boxes, one question a region or "
        "name; an article and the thing's own colour are allowed beside the name. Lists are "
        "written token by token; descriptions too, unless the model has a list of names.",
    )
    weights = weights[:, :pictures]
    for who, one in written.items():
        table.add(who, *_figures(one, weights))
    named = next(iter(written.values())).named
    often = Counter(row[2] for row in named).most_common(1)[0][0]
    right = [row[2] == often for row in named]
    majority = estimate(accuracy(right, [row[0] for row in named], weights))
    table.add(f"majority (always '{often}')", majority, None, None)
    return [table]


def _figures(one: Written, weights: Floats) -> tuple[Estimate, Estimate, Estimate]:
    right, said, due = ([row[place] for row in one.listed] for place in (1, 2, 3))
    return (
        estimate(accuracy([r[1] for r in one.named], [r[0] for r in one.named], weights)),
        estimate(f1(right, said, due, weights)),
        estimate(accuracy([r[1] for r in one.refused], [r[0] for r in one.refused], weights)),
    )
