"""Judges: whoever rates an answer beside a reference answer, for benchmarks that need a judgement.

No judge comes with the package and none is asked over a network. There are two ways to bring one:

    judge.jsonl in the data folder     ratings made elsewhere: RecordedJudge
    FO1_JUDGE="python my_judge.py"     a program of yours, which may call any model: CommandJudge

Both know one form of row, that of the review files of apple/ml-ferret:

    {"question_id": 0, "category": "refer_reason", "answer1": reference, "answer2": answer,
     "tuple": [8, 7]}

A program gets such rows on its standard input, one a line, without the ratings but with `question`,
`context` and `prompt`, and writes them with `tuple` to its standard output, in any order.

Source: apple/ml-ferret, ferret/eval/eval_gpt_review_3newclass.py (fields).
"""

import json
import math
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from fo1.errors import short_name
from fo1.evaluation.metrics.text import tokens
from fo1.formats.tables import read_tables

Ratings: TypeAlias = tuple[float, float]
"""Of the reference and of the answer."""

FILE = "judge.jsonl"
VARIABLE = "FO1_JUDGE"
PATIENCE = 3600.0
"""Seconds that a program may take for all its questions."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a judge is shown.

    Attributes:
        question_id: names the question.
        category: of the question.
        question: as it was asked.
        context: what is in the picture, in words.
        reference: the answer to compare with.
        answer: the answer to judge.
        prompt: what the benchmark tells its judge.
    """

    question_id: str
    category: str
    question: str
    context: str
    reference: str
    answer: str
    prompt: str

    def to_row(self) -> dict[str, str]:
        """Return what a program reads."""
        return {
            "question_id": self.question_id,
            "category": self.category,
            "question": self.question,
            "context": self.context,
            "answer1": self.reference,
            "answer2": self.answer,
            "prompt": self.prompt,
        }


class Judge(Protocol):
    """Rates answers."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def rate(self, cases: Sequence[Case]) -> list[Ratings | str]:
        """Return for every case its ratings, or one line why there are none; raises nothing."""
        ...


class RecordedJudge:
    """Ratings from a file. They hold for the very answers that were rated, not for a later run's.

    Args:
        path: of rows with question_id, answer2 and tuple.

    Raises:
        InputError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"ratings of {short_name(path.name)}"
        self._known = _by_answer(row.values for row in read_tables([path]).rows)
        self._asked = {question for question, _ in self._known}

    def rate(self, cases: Sequence[Case]) -> list[Ratings | str]:
        """Return the recorded ratings."""
        return [self._rate(case) for case in cases]

    def _rate(self, case: Case) -> Ratings | str:
        if case.question_id not in self._asked:
            return f"question {case.question_id} was not rated"
        unrated = f"another answer to question {case.question_id} was rated"
        return self._known.get((case.question_id, case.answer), unrated)


@dataclass(slots=True)
class CommandJudge:
    """A program that reads one JSON object a line and writes one a line.

    An answer is put to it once; contestants and resamples that need it again get the same ratings.

    Args:
        command: as one would type it; no shell reads it.
        patience: seconds for all questions.
    """

    command: str
    patience: float = PATIENCE
    _known: dict[Case, Ratings | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The program."""
        return short_name(self.command, 60)

    def rate(self, cases: Sequence[Case]) -> list[Ratings | str]:
        """Return what the program says."""
        new = [case for case in dict.fromkeys(cases) if case not in self._known]
        if new:
            told, problem = self._run("".join(json.dumps(one.to_row()) + "\n" for one in new))
            rated = _by_answer(_objects(told), {case.question_id: case.answer for case in new})
            for case in new:
                missing = problem or f"the judge gave question {case.question_id} no two ratings"
                self._known[case] = rated.get((case.question_id, case.answer), missing)
        return [self._known[case] for case in cases]

    def _run(self, rows: str) -> tuple[str, str]:
        """Return what the program wrote, and what went wrong."""
        try:
            done = subprocess.run(
                shlex.split(self.command),
                input=rows,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=self.patience,
                check=False,
            )
        except (OSError, ValueError, IndexError) as error:
            return "", f"the judge cannot be run ({error})"
        except subprocess.TimeoutExpired:
            return "", f"the judge took more than {self.patience:g} s"
        last = (done.stderr.strip().splitlines() or [""])[-1][:200]
        return done.stdout, f"the judge failed ({last})" if done.returncode else ""


def find_judge(data: Path) -> Judge | None:
    """Return the judge of a data folder: its recorded ratings, else the program, else none.

    Raises:
        InputError: the recorded ratings cannot be read.
    """
    if (data / FILE).is_file():
        return RecordedJudge(data / FILE)
    command = os.environ.get(VARIABLE, "").strip()
    return CommandJudge(command) if command else None


def token_f1(answer: str, reference: str) -> float:
    """Return how many words two texts share: 2 x shared / all, words counted as often as they come.

    It needs no judge and is none: a right answer in other words scores low.

    Example:
        >>> token_f1("The red hat.", "a red hat")
        0.6666666666666666
    """
    said, true = Counter(tokens(answer)), Counter(tokens(reference))
    total = said.total() + true.total()
    return 2 * (said & true).total() / total if total else 0.0


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the lines that are JSON objects; programs also write other things."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def _by_answer(
    rows: Iterable[Mapping[str, Any]], answers: Mapping[str, str] | None = None
) -> dict[tuple[str, str], Ratings]:
    """Return ratings by question and answer; `answers` are those of rows that do not repeat them."""
    found: dict[tuple[str, str], Ratings] = {}
    for row in rows:
        question, pair = str(row.get("question_id")), _ratings(row.get("tuple"))
        answer = row.get("answer2", (answers or {}).get(question))
        if pair is not None and isinstance(answer, str):
            found[question, answer] = pair
    return found


def _ratings(value: object) -> Ratings | None:
    """Return two ratings; None for what is not two numbers, such as the -1 of a failed review."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return None
    reference, answer = map(float, value)
    good = math.isfinite(reference) and math.isfinite(answer) and reference > 0 and answer >= 0
    return (reference, answer) if good else None
