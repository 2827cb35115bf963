"""The figures of a run over drawn scenes, every one beside its floors."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fo1.evaluation import judging, writing
from fo1.evaluation.cases import Case, rival_names
from fo1.evaluation.judging import Judgement
from fo1.evaluation.metrics import Floats, accuracy, estimate, ratio
from fo1.evaluation.report import Table
from fo1.geometry import box_area
from fo1.pipeline import DEFAULT_THRESHOLD

MODEL, SHUFFLED, BLANK = "model", "names shuffled among the boxes", "text only"
OWN, OWN_SHUFFLED = "model, own proposals", "own proposals, names shuffled"
CENTRED, CEILING = "four centred boxes under every name", "own proposals, true names (ceiling)"


@dataclass(slots=True)
class Measurement:
    """All judgements of a run.

    Attributes:
        cases: the scenes' questions.
        names: what every true box is called one of.
        proposer: who proposed the model's own boxes.
        judged: by contestant.
        recall: per picture (found, true boxes) of the proposals at IoU 0.5.
        written: what `writing` judged, by contestant.
    """

    names: tuple[str, ...]
    proposer: str = ""
    cases: list[Case] = field(default_factory=list)
    judged: dict[str, Judgement] = field(default_factory=dict)
    recall: list[tuple[int, int]] = field(default_factory=list)
    written: dict[str, writing.Written] = field(default_factory=dict)

    def of(self, contestant: str) -> Judgement:
        """Return the judgement of a contestant, new if there is none."""
        return self.judged.setdefault(contestant, Judgement())


def tables(measured: Measurement, weights: Floats) -> list[Table]:
    """Return everything that was measured, in reading order."""
    judged = measured.judged
    own = f"{OWN} ({measured.proposer})"
    return [
        _naming(measured, weights),
        _detection(measured, weights, own),
        _referring(measured, weights, own),
        _counting(measured, weights, own),
        _presence(judged, weights, own),
        _chances(judged, weights),
        _reliability(judged[MODEL]),
        *writing.tables(measured.written, weights),
    ]


def _naming(measured: Measurement, weights: Floats) -> Table:
    boxes = len(measured.judged[MODEL].naming)
    table = Table(
        "Naming of true boxes",
        ("top-1", "top-5"),
        f"{boxes} boxes, highest score among {len(measured.names)} names; other true or doubtful "
        "names of the thing do not compete; ties at random.",
    )
    for who in (MODEL, SHUFFLED, BLANK):
        table.add(who, *judging.naming_figures(measured.judged[who], weights))
    items = measured.judged[MODEL].naming
    pictures, true = [item[0] for item in items], [item[2] for item in items]
    often = [name for name, _ in Counter(true).most_common(5)]
    table.add(
        "majority (most frequent names of these very scenes)",
        estimate(accuracy([name in often[:1] for name in true], pictures, weights)),
        estimate(accuracy([name in often for name in true], pictures, weights)),
    )
    rivals = [
        len(rival_names(measured.names, thing)) + 1
        for case in measured.cases
        for thing in case.objects
    ]
    table.add("chance", *(float(np.mean([min(1, n / r) for r in rivals])) for n in (1, 5)))
    return table


def _detection(measured: Measurement, weights: Floats, own: str) -> Table:
    table = Table(
        "Detection",
        ("AP@[.5:.95]", "AP50", "AP50, one ranking"),
        "Asked: every name in the picture and up to 5 absent ones. The first two figures are means "
        "over names, most of which have one or two boxes, so look at the floors; in the last, all "
        "names of all pictures share one ranking.",
    )
    for who in (MODEL, SHUFFLED, BLANK):
        named = f"{who}, true and distractor boxes"
        table.add(named, *judging.detection_figures(measured.judged[who], weights))
    for who in (OWN, OWN_SHUFFLED, CENTRED, CEILING):
        named = own if who == OWN else who
        table.add(named, *judging.detection_figures(measured.judged[who], weights))
    found, true = ([row[place] for row in measured.recall] for place in (0, 1))
    table.add(
        "recall of the proposals at IoU 0.5", None, estimate(ratio(found, true, weights)), None
    )
    return table


def _referring(measured: Measurement, weights: Floats, own: str) -> Table:
    table = Table(
        "Referring",
        ("all", "not by the name alone"),
        "Share of expressions whose best region has IoU 0.5 with the thing meant. The second "
        "column leaves out expressions that merely name the only thing of its kind.",
    )
    for who in (MODEL, SHUFFLED, BLANK):
        named = f"{who}, true and distractor boxes"
        table.add(named, *judging.referring_figures(measured.judged[who].referring, weights))
    largest, chance = Judgement(), []
    for picture, case in enumerate(measured.cases):
        box = case.boxes[int(box_area(case.boxes).argmax())]
        for text, target in case.expressions:
            largest.judge_reference(picture, case, text, target, box)
            chance.append((picture, 1 / len(case.boxes), not case.by_name_alone(text)))
    table.add("largest box", *judging.referring_figures(largest.referring, weights))
    table.add("chance (1 / boxes)", *judging.referring_figures(chance, weights))
    table.add(own, *judging.referring_figures(measured.judged[OWN].referring, weights))
    return table


def _counting(measured: Measurement, weights: Floats, own: str) -> Table:
    table = Table(
        "Counting",
        ("exact", "exact where there are 2 or more"),
        f"Number of regions with a score of {DEFAULT_THRESHOLD} or more.",
    )
    for who in (MODEL, SHUFFLED, BLANK):
        named = f"{who}, true and distractor boxes"
        table.add(named, *judging.counting_figures(measured.judged[who].counting, weights))
    items = measured.judged[MODEL].counting
    for limit, label in ((1, "majority"), (2, "majority of the counts of 2 or more")):
        often = Counter(true for _, _, true in items if true >= limit).most_common(1)
        said = often[0][0] if often else 0
        guess = [(picture, said, true) for picture, _, true in items]
        table.add(f"{label} (always {said})", *judging.counting_figures(guess, weights))
    table.add(own, *judging.counting_figures(measured.judged[OWN].counting, weights))
    return table


def _presence(judged: Mapping[str, Judgement], weights: Floats, own: str) -> Table:
    table = Table(
        "Absent targets",
        ("AUROC", "none said, absent", "none said, present", "false positives / picture"),
        "Best score of a name over all regions, names in the picture against absent ones (floor of "
        f"the AUROC 0.5); 'none' is said when no region reaches {DEFAULT_THRESHOLD}; false "
        "positives are regions under an absent name that do.",
    )
    for who in (MODEL, BLANK):
        named = f"{who}, true and distractor boxes"
        table.add(named, *judging.presence_figures(judged[who], weights, DEFAULT_THRESHOLD))
    table.add(own, *judging.presence_figures(judged[OWN], weights, DEFAULT_THRESHOLD))
    return table


def _chances(judged: Mapping[str, Judgement], weights: Floats) -> Table:
    table = Table(
        "Probabilities",
        ("Brier score", "skill over the base rate"),
        "Every pair of a true or distractor box and a name that was looked for.",
    )
    for who in (MODEL, SHUFFLED, BLANK):
        table.add(who, *judging.chance_figures(judged[who], weights))
    return table


def _reliability(judgement: Judgement) -> Table:
    table = Table("Reliability of the model's probabilities", ("pairs", "said", "came true"))
    for low, high, count, mean, share in judging.reliability_rows(judgement):
        table.add(f"{low:.1f} to {high:.1f}", str(count), mean, share)
    return table
