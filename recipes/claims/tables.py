"""Makes the tables and verdicts of docs/claims.md from the figures of run.py and other_boxes.py.

    python recipes/claims/tables.py              writes them there
    python recipes/claims/tables.py --claim 2    prints those of one claim

Legend: a row is an arm, a figure the mean over the rounds, in points, with the 95 % interval of a mean (Student's t).
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from claims import COORDINATES, FAMILIES, WAYS, amounts, chosen_rate, compared
from other_boxes import FIGURES as OTHER_BOXES
from run import CLAIMS, FIGURES
from scenes import LINEAGES
from study import AMOUNTS, ARMS, MIDDLE, Training

from fo1.formats.beside import write_beside
from fo1.formats.markdown import table

DOCUMENT = Path(__file__).parents[2] / "docs/claims.md"
BEGIN, END = "<!-- written by recipes/claims/tables.py from here -->", "<!-- to here -->"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""97.5 % quantile of Student's t by number of rounds."""
Figure = Callable[[Mapping[str, Any]], float]


def f1(found: Mapping[str, Any]) -> float:
    """Return F1 with own boxes."""
    return found["own boxes"]["f1@0.5"]


def f1_true(found: Mapping[str, Any]) -> float:
    """Return F1 with the true boxes as regions."""
    return found["true boxes"]["f1@0.5"]


def named(found: Mapping[str, Any]) -> float:
    """Return the share of true boxes that are named right."""
    return found["naming"]


def kept(found: Mapping[str, Any]) -> float:
    """Return what is left of the host's own F1 in digits."""
    return found["host's own boxes"]["f1@0.5"]


def rejection(found: Mapping[str, Any]) -> float:
    """Return AUROC of presence."""
    return found["own boxes"]["presence auroc"]


def false_at_recall(found: Mapping[str, Any]) -> float:
    """Return the share of absent names above the threshold that 90 % of the present ones pass."""
    return found["own boxes"]["false at recall 0.9"]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over rounds with its interval, in points."""

    value: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean | None":
        """Return the mean of some shares, None of none; that of one has no interval."""
        points = 100 * np.array(values, float)
        if not len(points):
            return None
        mean, half = float(points.mean()), math.nan
        if len(points) > 1:
            half = STUDENT[len(points)] * float(points.std(ddof=1)) / math.sqrt(len(points))
        return cls(mean, mean - half, mean + half, len(points))

    @property
    def is_whole(self) -> bool:
        """Whether all rounds are in it."""
        return self.rounds == len(LINEAGES)

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.value:.1f}{interval}{'' if self.is_whole else f' (of {self.rounds})'}"


class Figures:
    """All figures by training.

    Args:
        rows: as run.py wrote them.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self.rows = {Training(**row["training"]): row for row in rows}

    def rate(self, training: Training) -> float | None:
        """Return the rate that was chosen for an arm; None if that is not known yet."""
        return chosen_rate(training, self.rows.get)

    def rounds(self, training: Training, amount: int) -> dict[str, Mapping[str, Any]]:
        """Return the figures of an arm by lineage held out, of those rounds that were run."""
        rate = self.rate(training)
        if rate is None:
            return {}
        wanted = {
            one: replace(training, held_out=one, amount=amount, rate=rate) for one in LINEAGES
        }
        return {one: self.rows[own] for one, own in wanted.items() if own in self.rows}

    def mean(self, training: Training, figure: Figure, amount: int = MIDDLE) -> Mean | None:
        """Return a figure of an arm."""
        return Mean.of([figure(row) for row in self.rounds(training, amount).values()])

    def gaps(
        self, ours: Training, theirs: Training, figure: Figure, amount: int = MIDDLE
    ) -> dict[str, float]:
        """Return how much larger a figure is in one arm than in another, by round."""
        mine, others = self.rounds(ours, amount), self.rounds(theirs, amount)
        return {one: figure(mine[one]) - figure(others[one]) for one in mine if one in others}

    def difference(
        self, ours: Training, theirs: Training, figure: Figure, amount: int = MIDDLE
    ) -> Mean | None:
        """Return the mean of `gaps`."""
        return Mean.of(list(self.gaps(ours, theirs, figure, amount).values()))


def verdict(difference: Mean | None, least: float) -> str:
    """Return what a difference says of a hypothesis that it is at least so large, in points."""
    if difference is None:
        return "not run"
    if not difference.is_whole:
        said = "**unfinished**"
    elif difference.low > 0 and difference.value >= least:
        said = "**holds**"
    elif difference.high < least:
        said = "**fails**"
    else:
        said = "**open**"
    return f"{said}: {difference} (at least {least:g})"


def alike(difference: Mean | None, most: float) -> str:
    """Return what a difference says of a hypothesis that it is no larger than so many points, either way."""
    if difference is None:
        return "not run"
    if not difference.is_whole:
        said = "**unfinished**"
    elif max(abs(difference.low), abs(difference.high)) <= most:
        said = "**holds**"
    elif difference.low > most or difference.high < -most:
        said = "**fails**"
    else:
        said = "**open**"
    return f"{said}: {difference} (within {most:g})"


def claim_1(figures: Figures) -> str:
    """Return region reference against coordinates."""
    arms = compared(1)
    rows: list[list[Any]] = []
    for name, one in arms.items():
        own = [figures.mean(one, f1, a) if a in amounts(1, one) else None for a in AMOUNTS]
        fine = figures.mean(one, lambda row: row["own boxes"]["f1@0.75"])
        tokens = {"digits": 8, "bins": 4, "regions": 1}[ARMS[one.arm].notation]
        rows.append([name, *own, fine, tokens, figures.mean(one, named), figures.rate(one)])
    true = [figures.mean(arms["regions"], f1_true, amount) for amount in AMOUNTS]
    rows.append(["regions, true boxes", *true, *[None] * 4])
    reach = figures.mean(arms["regions"], lambda row: row["own boxes"]["reachable"])
    header = [
        "arm",
        *(f"F1, {amount} scenes" for amount in AMOUNTS),
        "F1 at IoU .75",
        "tokens a box",
        "naming",
        "rate",
    ]
    alone = [name for name in WAYS if name != "regions" and "proposals" not in name]
    written = [f"{name}, proposals" for name in COORDINATES]

    def lead(over: Sequence[str], amount: int = MIDDLE) -> Mean | None:
        best = _best(figures, [arms[name] for name in over], amount)
        return best and figures.difference(arms["regions"], best, f1, amount)

    ends = [
        _leads(figures, arms, [*alone, *written], amount) for amount in (AMOUNTS[0], AMOUNTS[-1])
    ]
    trend = Mean.of([ends[0][one] - ends[1][one] for one in ends[0] if one in ends[1]])
    return "\n\n".join(
        [
            table(header, rows),
            *([f"Things with a box among the 24: {reach}."] if reach else []),
            _verdicts(
                {
                    "1a. Over the best arm without proposals": (lead(alone), 10),
                    "1b. Over the best arm with proposals as text": (lead(written), 5),
                    "1c. Lead at 75 scenes less that at 1,200": (trend, 5),
                }
            ),
        ]
    )


def _best(figures: Figures, arms: Sequence[Training], amount: int) -> Training | None:
    means = {one: figures.mean(one, f1, amount) for one in arms}
    known = {one: mean.value for one, mean in means.items() if mean is not None}
    return max(known, key=lambda one: known[one]) if len(known) == len(arms) else None


def _leads(
    figures: Figures, arms: Mapping[str, Training], over: Sequence[str], amount: int
) -> dict[str, float]:
    best = _best(figures, [arms[name] for name in over], amount)
    return figures.gaps(arms["regions"], best, f1, amount) if best else {}


def claim_2(figures: Figures) -> str:
    """Return the parts of the region encoder."""
    arms = compared(2)
    rows = []
    for name, one in arms.items():
        found = list(figures.rounds(one, MIDDLE).values())
        size = f"{found[0]['parameters']['region_encoder'] / 1000:.0f} k" if found else None
        against = None if name == "regions" else figures.difference(one, arms["regions"], f1_true)
        own = (figures.mean(one, figure) for figure in (f1, named))
        rows.append([name, size, figures.mean(one, f1_true), against, *own, figures.rate(one)])
    header = [
        "arm",
        "parameters",
        "F1, true boxes",
        "against the whole",
        "F1, own boxes",
        "naming",
        "rate",
    ]

    def worth(ours: str, theirs: str, figure: Figure) -> Mean | None:
        return figures.difference(arms[ours], arms[theirs], figure)

    parts = {
        "pyramid": ("regions", "no pyramid"),
        "box embedding": ("regions", "no box embedding"),
        "7 bins for 2": ("regions", "2 bins"),
        "concatenation for mean": ("wide pyramid, concat", "wide pyramid, mean"),
    }
    verdicts: dict[str, tuple[Mean | None, float]] = {
        "2a. Both sources over auxiliary only": (worth("regions", "auxiliary only", f1_true), 2),
        "2b. Both sources over host only": (worth("regions", "host only", f1_true), 5),
    }
    for part, (ours, theirs) in parts.items():
        verdicts[f"2c. True boxes, {part}"] = (worth(ours, theirs, f1_true), 2)
        verdicts[f"2c. Own boxes, {part}"] = (worth(ours, theirs, f1), 2)
    verdicts["2d. 14 bins for 7 (expected to fail)"] = (worth("14 bins", "regions", f1_true), 2)
    return table(header, rows) + "\n\n" + _verdicts(verdicts)


def claim_3(figures: Figures) -> str:
    """Return two stages against one."""
    arms = compared(3)
    rows = [
        [name, *(figures.mean(one, figure) for figure in (f1, named, kept)), figures.rate(one)]
        for name, one in arms.items()
    ]
    two, one, random = arms["two stages"], arms["one stage"], arms["two stages, random host"]
    return (
        table(["arm", "F1", "naming", "host's own F1 in digits", "rate"], rows)
        + "\n\n"
        + _verdicts(
            {
                "3a. F1, two stages over one": (figures.difference(two, one, f1), 3),
                "3b. Host's own F1, two stages over one": (figures.difference(two, one, kept), 3),
                "3c. F1, trained host over random": (figures.difference(two, random, f1), 10),
            }
        )
    )


def claim_4(figures: Figures) -> str:
    """Return absent names."""
    arms = compared(4)
    rows = [
        [
            label,
            figures.mean(one, rejection),
            figures.mean(one, false_at_recall),
            figures.mean(one, lambda row: row["own boxes"]["absent answered"]),
            figures.mean(one, f1),
            figures.rate(one),
        ]
        for label, one in zip(("None", "silence", "no negatives"), arms.values(), strict=True)
    ]
    header = [
        "absent names are",
        "AUROC",
        "false at 90 % recall",
        "answered with boxes",
        "F1",
        "rate",
    ]
    whole, silence, without = arms.values()
    less = figures.difference(silence, whole, false_at_recall)
    return (
        table(header, rows)
        + "\n\n"
        + _verdicts(
            {
                "4a. AUROC over silence": (figures.difference(whole, silence, rejection), 2),
                "4a. False positives, silence over None": (less, 5),
                "4b. AUROC over no negatives": (figures.difference(whole, without, rejection), 10),
            }
        )
    )


def claim_6(figures: Figures) -> str:
    """Return three families."""
    arms = compared(6)
    rows = [
        [name, *(figures.mean(one, figure) for figure in (named, f1_true, f1)), figures.rate(one)]
        for name, one in arms.items()
    ]
    lines = []
    for label, figure in (("6a. Naming", named), ("6b. F1, true boxes", f1_true)):
        for place, first in enumerate(FAMILIES):
            for second in FAMILIES[place + 1 :]:
                gap = figures.difference(arms[first], arms[second], figure)
                lines.append(f"- {label}, {first} less {second}: {alike(gap, 5)}")
    header = ["host", "naming", "F1, true boxes", "F1, own boxes", "rate"]
    return table(header, rows) + "\n\n" + "\n".join(lines)


def claim_5(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return other boxes, from the rows of other_boxes.py."""
    by_boxes: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_boxes.setdefault(row["boxes"], []).append(row)

    def values(boxes: str, figure: str) -> list[float]:
        return [row[figure] for row in by_boxes.get(boxes, ()) if figure in row]

    def gap(ours: str, theirs: str) -> Mean | None:
        pairs = values(ours, "f1@0.5"), values(theirs, "f1@0.5")
        return Mean.of([a - b for a, b in zip(*pairs, strict=True)]) if pairs[0] else None

    lines = []
    for boxes in by_boxes:
        cells = [values(boxes, figure) for figure in ("f1@0.5", "reachable", "seconds")]
        means = [Mean.of(own) if own else None for own in cells[:2]]
        took = f"{1000 * float(np.median(cells[2])):.0f}" if cells[2] else None
        lines.append([boxes, *means, took])
    header = ["boxes", "F1", "things with a box", "ms for one name"]
    times = [np.median(values(f"{n} proposals", "seconds") or [np.nan]) for n in (10, 100)]
    ratio = float(times[1] / times[0])
    said = (
        "not run" if math.isnan(ratio) else f"**{'holds' if ratio < 4 else 'fails'}**: {ratio:.1f}"
    )
    return (
        table(header, lines)
        + "\n\n"
        + f"- 5a. Moved by up to a fifth less unmoved: {alike(gap('moved .2', 'others'), 5)}\n"
        + f"- 5b. 100 proposals less 24: {alike(gap('100 proposals', '24 proposals'), 5)}\n"
        + f"- 5c. Time of 100 proposals over that of 10: {said} (below 4)"
    )


def _verdicts(said: Mapping[str, tuple[Mean | None, float]]) -> str:
    return "\n".join(f"- {name}: {verdict(*one)}" for name, one in said.items())


TITLES = {
    1: "Region reference against coordinates",
    2: "The region encoder",
    3: "Two stages against one",
    4: "Absent names",
    5: "Number and quality of regions",
    6: "Three families",
}


def section(claim: int) -> str:
    """Return the table and the verdicts of a claim."""
    made = {1: claim_1, 2: claim_2, 3: claim_3, 4: claim_4, 6: claim_6}
    said = claim_5(_rows(OTHER_BOXES)) if claim == 5 else made[claim](Figures(_rows(FIGURES)))
    return f"## {claim}. {TITLES[claim]}\n\n{said}\n"


def document() -> str:
    """Return docs/claims.md with all sections made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    sections = "\n".join(map(section, CLAIMS))
    return f"{before}{BEGIN}\n\n{sections}\n{END}{rest.split(END)[1]}"


def _rows(file: Path) -> list[Mapping[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claim", type=int, choices=CLAIMS)
    args = parser.parse_args()
    if args.claim:
        print(section(args.claim))
    else:
        write_beside(DOCUMENT, document())


if __name__ == "__main__":
    main()
