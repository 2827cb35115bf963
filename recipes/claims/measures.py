"""What a model answers about scenes of a lineage that it never saw, and how right that is.

Legend: S scenes, Q questions, N boxes shown.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from arms import (
    MOST,
    Arm,
    ArmCollator,
    Shown,
    Source,
    choose,
    question,
    read_boxes,
    reference,
    show,
)
from scenes import Seen

from fo1.data.collator import Batch
from fo1.evaluation.metrics import estimates
from fo1.geometry import box_iou
from fo1.layout import query_branch, question_branch, scene_prefix
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.decoding import decode
from fo1.models.processing import pad_left
from fo1.tags import GROUND_OPEN, NONE_TEXT
from fo1.training.objective import Objective

LONGEST = {"digits": 90, "bins": 56, "regions": 24}
"""Tokens of an answer."""
ROWS = 48
RECALL = 0.9
ABSENT = 2
"""Names that are asked of a scene and are not there."""


Question: TypeAlias = tuple[Shown, tuple[str, ...]]
"""A scene, and what stands behind it in a prompt, part by part."""


@dataclass(frozen=True, eq=False)
class Asker:
    """A model that is asked about scenes.

    Args:
        model: in evaluation mode.
        processor: of that model.
        arm: how it was trained.
        scenes: that it is asked about.
        names: that may be asked.
        source: of the boxes that it is shown.
        ranks: first and end of the proposals, best first.
    """

    model: FO1ForConditionalGeneration
    processor: FO1Processor
    arm: Arm
    scenes: Sequence[Seen]
    names: Sequence[str]
    source: Source = "proposals"
    ranks: tuple[int, int] = MOST

    @cached_property
    def shown(self) -> list[Shown]:
        """Return the scenes as the arm is shown them; the same boxes for every arm."""
        return [
            show(self.arm, scene, *choose(scene, self.source, self.ranks)) for scene in self.scenes
        ]

    @cached_property
    def asked(self) -> list[list[str]]:
        """Return per scene the names that are there, then some that are not; the same for every arm."""
        found = []
        for number, scene in enumerate(self.scenes):
            rng = np.random.default_rng([8, number])
            there = sorted(set(scene.names))
            absent = [name for name in self.names if name not in there]
            found.append([*there, *(absent[int(i)] for i in rng.permutation(len(absent))[:ABSENT])])
        return found

    @cached_property
    def pairs(self) -> list[tuple[Shown, str]]:
        """Every name that is asked with its scene."""
        return [
            (one, name) for one, names in zip(self.shown, self.asked, strict=True) for name in names
        ]

    def write(self, asked: Sequence[tuple[Shown, str]]) -> list[str]:
        """Return what the model writes about names, or about boxes as `reference` says them."""
        questions = [(one, (self._question(text),)) for one, text in asked]
        texts: list[str] = []
        ends = [self.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")]
        for chunk, rows in self._chunks(questions):
            told = decode(
                self.model,
                **rows,
                grammars=[None] * len(chunk),
                max_new_tokens=LONGEST[self.arm.notation],
                ends=ends,
                pad=self.processor.tokenizer.pad_token_id,
            )
            texts += [self.processor.tokenizer.decode(one.tokens[:-1]) for one in told]
        return texts

    @torch.no_grad()
    def presence(self, asked: Sequence[tuple[Shown, str]]) -> list[float]:
        """Return log p that the answer about a name opens a list, and not with the word for none."""
        tokens = self.processor.token_ids
        (opens,), none = tokens(GROUND_OPEN), tokens(NONE_TEXT)[0]
        questions = [(one, (self._question(name), query_branch(name))) for one, name in asked]
        found: list[float] = []
        for chunk, rows in self._chunks(questions):
            logits = self.model(**rows).logits.float().log_softmax(-1)
            for row, (_, (_, opened)) in enumerate(chunk):
                length = len(tokens(opened))
                begin, listed = logits[row, -length - 1, opens], logits[row, -1, none]
                found.append(float(begin + torch.log1p(-listed.exp().clamp(max=1 - 1e-6))))
        return found

    def _question(self, text: str) -> str:
        return question_branch(question(text, self.arm))

    def _chunks(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[Sequence[Question], dict[str, Any]]]:
        """Return questions in groups, each with what the model's `forward` takes of them."""
        # Rows are padded on the left, which a layer with a state would read.
        rows = 1 if self.model.recurrent else ROWS
        for start in range(0, len(questions), rows):
            chunk = questions[start : start + rows]
            yield chunk, self._rows(chunk)

    @torch.no_grad()
    def _rows(self, chunk: Sequence[Question]) -> dict[str, Any]:
        """Return the model's inputs; each scene is encoded once."""
        tokens, objective = self.processor.token_ids, Objective(self.model)
        scenes = list(dict.fromkeys(one for one, _ in chunk))
        batch: Batch = ArmCollator(self.processor)([one.sample for one in scenes])
        encoding, regions = objective.encode(batch)
        assert encoding is not None
        texts = self.processor.picture_texts(batch.pictures)
        owner = [scenes.index(one) for one, _ in chunk]
        ids = [
            tokens(scene_prefix(one.sample.num_regions), [texts[number]])
            + tokens(one.sample.preface)
            + [token for part in parts for token in tokens(part)]
            for (one, parts), number in zip(chunk, owner, strict=True)
        ]
        padded, mask = pad_left(ids, self.processor.tokenizer.pad_token_id)
        rows: dict[str, Any] = {
            "input_ids": padded,
            "attention_mask": mask,
            "encoding": replace(encoding, host=encoding.host.select(owner)),
        }
        for name in self.model.family.image_inputs:
            if name != "pixel_values":
                rows[name] = batch.pictures[name][owner]
        if regions is not None:
            firsts = np.cumsum([0, *(one.sample.num_regions for one in scenes)])
            index = [r for number in owner for r in range(*firsts[number : number + 2])]
            rows |= {"regions": regions, "region_index": torch.tensor(index)}
        return rows


@dataclass(frozen=True, slots=True)
class Tally:
    """Listed boxes of one question.

    Attributes:
        right: boxes that match a true one of the name, each true one once.
        listed: boxes.
        true: boxes of the name.
    """

    right: int
    listed: int
    true: int


def tally(found: np.ndarray, true: np.ndarray, threshold: float) -> Tally:
    """Match listed boxes (N, 4) to true ones (M, 4), the best overlap first."""
    right = 0
    if len(found) and len(true):
        overlap = box_iou(found.astype(np.float32), true)
        while overlap.max() >= threshold:
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            overlap[row], overlap[:, column] = -1, -1
            right += 1
    return Tally(right, len(found), len(true))


def f1(tallies: Sequence[Tally]) -> float:
    """Return 2 right / (listed + true) over all questions."""
    right, listed, true = np.array([(one.right, one.listed, one.true) for one in tallies]).T
    return float(estimates.f1(right, listed, true, np.ones((1, len(tallies))))[0])


def found_boxes(asker: Asker) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return per question about a name the boxes (N, 4) that are listed, and the true ones (M, 4)."""
    texts = asker.write(asker.pairs)
    return [
        (
            read_boxes(text, asker.arm, one.boxes),
            one.scene.objects[[own == name for own in one.scene.names]],
        )
        for text, (one, name) in zip(texts, asker.pairs, strict=True)
    ]


def lists(asker: Asker) -> dict[str, float]:
    """Return how right lists are: F1 at two overlaps, exact counts, boxes for absent names, presence."""
    found = found_boxes(asker)
    there = np.array([len(true) > 0 for _, true in found])
    exact = np.array([len(own) == len(true) for own, true in found])
    answered = np.array([len(own) > 0 for own, _ in found])
    figures = {
        f"f1@{threshold}": f1([tally(own, true, threshold) for own, true in found])
        for threshold in (0.5, 0.75)
    }
    scores = asker.presence(asker.pairs)
    members = np.concatenate([one.members for one in asker.shown])
    return {
        **figures,
        "count exact": float(exact[there].mean()),
        "absent answered": float(answered[~there].mean()),
        **rejection(np.array(scores), there),
        "reachable": float((members >= 0).mean()),
    }


def rejection(scores: np.ndarray, there: np.ndarray) -> dict[str, float]:
    """Return how well scores (Q,) tell names that are there (Q,) from those that are not."""
    present, absent = np.sort(scores[there]), scores[~there]
    threshold = present[int((1 - RECALL) * len(present))]
    one_picture = np.zeros(len(scores), int), np.ones((1, 1))
    return {
        "presence auroc": float(estimates.auroc(scores, there, *one_picture)[0]),
        "false at recall 0.9": float((absent >= threshold).mean()),
    }


def naming(asker: Asker) -> float:
    """Return the share of shown things whose name is written, letter by letter."""
    asked, names = [], []
    for one in asker.shown:
        for place, name in zip(one.members, one.scene.names, strict=True):
            if place >= 0:
                asked.append((one, reference(one, int(place), asker.arm)))
                names.append(name)
    texts = asker.write(asked)
    return float(np.mean([text.strip() == name for text, name in zip(texts, names, strict=True)]))


def seconds(asker: Asker, scenes: int) -> float:
    """Return the median time of one name in one scene, its boxes given, pictures' own encoding apart."""
    times = []
    for one, names in zip(asker.shown[:scenes], asker.asked[:scenes], strict=True):
        begun = time.perf_counter()
        asker.write([(one, names[0])])
        times.append(time.perf_counter() - begun)
    return float(np.median(times))
