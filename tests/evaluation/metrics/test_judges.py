import json
import sys
from pathlib import Path

import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.judges import (
    Case,
    CommandJudge,
    RecordedJudge,
    find_judge,
    token_f1,
)


def _case(number: int, answer: str = "a hat") -> Case:
    return Case(str(number), "refer_reason", "Why?", "a hat", "the hat", answer, "rate")


def _program(folder: Path, body: str) -> str:
    """A judge that rates 8 and the number of words of the answer."""
    path = folder / "judge.py"
    path.write_text(
        "import json, sys\n"
        "rows = [json.loads(line) for line in sys.stdin]\n"
        "def rate(row):\n"
        "    return {'question_id': row['question_id'], 'tuple': [8, len(row['answer2'].split())]}\n"
        + body
    )
    return f'"{sys.executable}" "{path}"'


def test_recorded_ratings_hold_for_the_very_answer(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    rows: list[object] = [
        {"question_id": 0, "answer1": "the hat", "answer2": "a hat", "tuple": [8, 6]},
        {"question_id": 1, "answer2": "a hat", "tuple": [-1, -1]},
        {"question_id": 2, "answer2": "a hat", "tuple": [8]},
        {"question_id": 3, "tuple": [8, 6]},
        {"question_id": 4, "answer2": "a hat", "tuple": ["8", "6"]},
        "nothing",
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = RecordedJudge(path)
    assert judge.rate([_case(0)]) == [(8, 6)]
    assert judge.rate([_case(0, "a cap")]) == ["another answer to question 0 was rated"]
    told = judge.rate([_case(number) for number in range(1, 5)])
    assert told == [f"question {number} was not rated" for number in range(1, 5)]


def test_a_program_rates_what_it_reads(tmp_path: Path) -> None:
    body = (
        "for row in reversed(rows):\n    print('thinking ...')\n    print(json.dumps(rate(row)))\n"
    )
    judge = CommandJudge(_program(tmp_path, body))
    assert judge.rate([_case(0), _case(1, "one"), _case(0)]) == [(8, 2), (8, 1), (8, 2)]


def test_a_program_sees_the_whole_case(tmp_path: Path) -> None:
    body = f"open({str(tmp_path / 'seen.json')!r}, 'w').write(json.dumps(rows))\n"
    CommandJudge(_program(tmp_path, body)).rate([_case(7)])
    assert json.loads((tmp_path / "seen.json").read_text()) == [
        {
            "question_id": "7",
            "category": "refer_reason",
            "question": "Why?",
            "context": "a hat",
            "answer1": "the hat",
            "answer2": "a hat",
            "prompt": "rate",
        }
    ]


def test_a_program_is_asked_once_for_an_answer(tmp_path: Path) -> None:
    count = tmp_path / "count"
    body = f"open({str(count)!r}, 'a').write('x' * len(rows))\n[print(json.dumps(rate(r))) for r in rows]\n"
    judge = CommandJudge(_program(tmp_path, body))
    judge.rate([_case(0), _case(1)])
    judge.rate([_case(0), _case(1), _case(2)])
    assert count.read_text() == "xxx"


def test_what_a_program_leaves_out_is_told(tmp_path: Path) -> None:
    body = 'print(json.dumps(rate(rows[0])))\nprint(\'{"question_id": "1", "tuple": "8 6"}\')\n'
    told = CommandJudge(_program(tmp_path, body)).rate([_case(0), _case(1), _case(2)])
    assert told == [
        (8, 2),
        "the judge gave question 1 no two ratings",
        "the judge gave question 2 no two ratings",
    ]


def test_a_program_that_fails_keeps_what_it_had_said(tmp_path: Path) -> None:
    body = "print(json.dumps(rate(rows[0])), flush=True)\nsys.exit('no quota left')\n"
    told = CommandJudge(_program(tmp_path, body)).rate([_case(0), _case(1)])
    assert told == [(8, 2), "the judge failed (no quota left)"]


@pytest.mark.parametrize("command", ["/no/such/program", "unclosed 'quote", "''"])
def test_a_program_that_is_none_is_told(command: str) -> None:
    (told,) = CommandJudge(command).rate([_case(0)])
    assert isinstance(told, str)
    assert told.startswith("the judge cannot be run")


def test_a_program_that_takes_too_long_is_told(tmp_path: Path) -> None:
    judge = CommandJudge(_program(tmp_path, "import time\ntime.sleep(60)\n"), patience=0.3)
    assert judge.rate([_case(0)]) == ["the judge took more than 0.3 s"]


def test_recorded_ratings_come_before_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FO1_JUDGE", raising=False)
    assert find_judge(tmp_path) is None
    monkeypatch.setenv("FO1_JUDGE", "my_judge --model x")
    judge = find_judge(tmp_path)
    assert isinstance(judge, CommandJudge)
    assert judge.name == "my_judge --model x"
    (tmp_path / "judge.jsonl").write_text("")
    assert isinstance(find_judge(tmp_path), RecordedJudge)
    (tmp_path / "judge.jsonl").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"judge\.jsonl"):
        find_judge(tmp_path)


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("a red hat", "a red hat", 1.0),
        ("The red hat.", "a red hat", 4 / 6),
        ("red red red", "a red hat", 2 / 6),
        ("", "a red hat", 0.0),
        ("", "", 0.0),
        ("word " * 50_000, "word", 2 / 50_001),
    ],
)
def test_token_f1_by_hand(answer: str, reference: str, value: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(value)
