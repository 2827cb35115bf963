import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fo1.parsing import parse_answer, parse_count, parse_region_texts, plain_text

CAT = "<ground>cat</ground><objects><region1><region4></objects>"
NONE = "<ground>cat</ground><objects>None</objects>"


# Whole answers: text, groundings as label -> regions. No problem may be reported.
@pytest.mark.parametrize(
    ("text", "groundings"),
    [
        (CAT, {"cat": (1, 4)}),
        (CAT + "<|im_end|>", {"cat": (1, 4)}),
        ("", {}),
        (" \n", {}),
        ("There is nothing here.", {}),
        ("Why <region2>? It is wet.", {}),
        (
            f"A {CAT} near a <ground>cup</ground><objects><region0></objects>.",
            {"cat": (1, 4), "cup": (0,)},
        ),
        (CAT + "\n" + CAT, {"cat": (1, 4)}),
        (
            "<ground>b</ground><objects><region7><region2></objects>"
            "<ground>a</ground><objects><region0></objects>"
            "<ground>b</ground><objects><region2><region9></objects>",
            {"b": (7, 2, 9), "a": (0,)},
        ),
        ("<ground>cat</ground><objects><region4><region1><region4></objects>", {"cat": (4, 1)}),
        ("<ground> red \n cup </ground><objects><region1></objects>", {"red cup": (1,)}),
        ("<ground>cat</ground> \n<objects> <region1>, <region2> </objects>", {"cat": (1, 2)}),
        ("<ground>cat</ground>: <object><Region1></object>", {"cat": (1,)}),  # the paper's form
        (NONE, {"cat": ()}),
        ("<ground>cat</ground><objects> none. </objects>", {"cat": ()}),
        ("<ground>cat</ground><objects></objects>", {"cat": ()}),
        (NONE + CAT, {"cat": (1, 4)}),
        ("<ground>猫 🐱</ground><objects><region3></objects>", {"猫 🐱": (3,)}),
        ("<ground>a < b > c</ground><objects><region3></objects>", {"a < b > c": (3,)}),
    ],
)
def test_whole_answers(text: str, groundings: dict[str, tuple[int, ...]]) -> None:
    answer = parse_answer(text, 10)
    assert [(item.phrase, item.regions) for item in answer.groundings] == list(groundings.items())
    assert answer.problems == ()
    assert answer.text == text
    assert answer.thought is None


# Damaged answers: text, what can still be read, a word of the problem.
@pytest.mark.parametrize(
    ("text", "groundings", "problem"),
    [
        ("<ground>cat</ground><objects><region1><region10></objects>", {"cat": (1,)}, "region 10"),
        ("<ground>cat</ground><objects><region99></objects>", {"cat": ()}, "region 99"),
        ("it is <region12>", {}, "region 12"),
        (f"<ground>c</ground><objects><region{'9' * 5000}></objects>", {"c": ()}, "999999999..."),
        ("<ground>cat</ground><objects><region1><reg", {"cat": (1,)}, "not closed"),
        ("<ground>cat</ground><objects><region1>", {"cat": (1,)}, "not closed"),
        ("<ground>cat</ground><objects>", {"cat": ()}, "not closed"),
        ("<ground>cat</ground>", {}, "'cat' has no objects"),
        ("<ground>cat", {}, "'cat' has no objects"),
        ("<ground>", {}, "has no objects"),
        ("cat</ground>", {}, "</ground> closes nothing"),
        ("<region1></objects>", {}, "</objects> closes nothing"),
        (
            "<ground>a</ground><objects><region1><ground>b</ground><objects><region2></objects>",
            {"a": (1,), "b": (2,)},
            "objects of 'a' are not closed",
        ),
        ("<ground>a<objects><region1></objects>", {"a": (1,)}, "'a' is not closed"),
        ("<ground>a<ground>b</ground><objects><region1></objects>", {"b": (1,)}, "'a' has no"),
        ("<objects><region3></objects>", {"": (3,)}, "without a label"),
        ("<ground> </ground><objects><region3></objects>", {"": (3,)}, "without a label"),
        ("<objects></objects>", {}, "without a label"),
        ("<ground>a</ground><objects>None<region1></objects>", {"a": (1,)}, "other text: 'None'"),
        ("<ground>a</ground><objects>the left one</objects>", {"a": ()}, "'the left one'"),
        ("<ground>a</ground><objects><region-1></objects>", {"a": ()}, "<region-1>"),
        ("<ground>a</ground><objects><region1.5></objects>", {"a": ()}, "<region1.5>"),
        ("<ground>a</ground><objects><region\u0663></objects>", {"a": ()}, "other text"),
        ("</objects><objects></ground><ground>", {}, "closes nothing"),
    ],
)
def test_damaged_answers(text: str, groundings: dict[str, tuple[int, ...]], problem: str) -> None:
    answer = parse_answer(text, 10)
    assert {item.phrase: item.regions for item in answer.groundings} == groundings
    assert any(problem in line for line in answer.problems), answer.problems
    assert all("\n" not in line and len(line) < 200 for line in answer.problems)


def test_no_region_exists_without_regions() -> None:
    assert parse_answer(CAT, 0).groundings[0].regions == ()


@pytest.mark.parametrize(
    ("text", "thought", "answer", "regions", "problems"),
    [
        (
            f"<think>maybe <region7></think><answer>{CAT}</answer>",
            "maybe <region7>",
            CAT,
            (1, 4),
            0,
        ),
        (f"<think>a</think>{CAT}", "a", CAT, (1, 4), 0),
        (f"a</think>{CAT}", "a", CAT, (1, 4), 0),
        (f"<answer>{CAT}", None, CAT, (1, 4), 1),
        (f"<think>{CAT}", CAT, "", (), 1),
        ("<think>a<answer>b</answer>", "a", "b", (), 1),
        (f"<think>{CAT}</think><answer>no</answer>", CAT, "no", (), 0),
        ("a</answer>", None, "a", (), 0),
        ("<think></think>b", "", "b", (), 0),
    ],
)
def test_thought_and_answer(
    text: str, thought: str | None, answer: str, regions: tuple[int, ...], problems: int
) -> None:
    read = parse_answer(text, 10)
    assert (read.thought, read.answer, read.regions) == (thought, answer, regions)
    assert len(read.problems) == problems


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        (CAT + " There are 2 cats.", 2),
        ("<region12><region3> 2", 2),
        ("There are two cats.", 2),
        ("There are Twenty.", 20),
        ("twenty-one", None),
        ("someone is here", None),
        ("one of the 4 cats", 4),
        ("1,250 seeds", 1250),
        ("12,5 seeds", 12),
        ("<ground>number 7 shirt</ground><objects><region0></objects> 1", 1),
        ("<ground>number 7 shirt</ground><objects><region0></objects>", 7),
        ("<ground>3 cats</ground><objects><region0>", 3),
        ("<think>1, 2, 3, 4</think><answer>3</answer>", 3),
        ("There are no cats.", 0),
        ("None.", 0),
        ("zero", 0),
        ("", None),
        ("many", None),
        ("9" * 6000, None),
        ("-3", 3),
        ("5<|im_end|>", 5),
    ],
)
def test_counts(text: str, number: int | None) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize(
    ("text", "regions", "texts", "problems"),
    [
        ("A red cup.", [3], {3: "A red cup."}, 0),
        ("<region3> is a red cup.", [3], {3: "is a red cup."}, 0),
        ("<region3>: STOP", [3], {3: "STOP"}, 0),
        ("<ground>STOP</ground><objects><region3></objects>", [3], {3: "STOP"}, 0),
        ("<region4>: EXIT\n<region3>: STOP", [3, 4], {3: "STOP", 4: "EXIT"}, 0),
        (
            "<ground>A</ground><objects><region3></objects><ground>B</ground><objects><region4>"
            "</objects>",
            [3, 4],
            {3: "A", 4: "B"},
            0,
        ),
        ("STOP\n\nEXIT\n", [3, 4], {3: "STOP", 4: "EXIT"}, 0),
        ("<region3> left <region5> else", [3, 4], {3: "left"}, 2),
        ("one text", [3, 4], {}, 2),
        ("", [3], {}, 1),
        (f"<region{'1' * 5000}> x", [3, 4], {}, 2),
        ("<think>hm</think>STOP", [0], {0: "STOP"}, 0),
        ("anything", [], {}, 0),
    ],
)
def test_region_texts(text: str, regions: list[int], texts: dict[int, str], problems: int) -> None:
    found, reported = parse_region_texts(text, regions)
    assert {item.region: item.text for item in found} == texts
    assert [item.region for item in found] == [region for region in regions if region in texts]
    assert len(reported) == problems, reported


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"A {CAT} sleeps , on <region2>.", "A cat sleeps, on."),
        (f"{CAT}{CAT}", "cat cat"),
        (NONE, "cat"),
        ("<think>x</think><answer>a cup</answer><|im_end|>", "a cup"),
        ("<ground>cat</ground><objects><region1>", "cat"),
        ("no markup: 2 < 3", "no markup: 2 < 3"),
    ],
)
def test_text_for_people(text: str, plain: str) -> None:
    assert plain_text(text) == plain


PIECES = st.sampled_from(
    ["<ground>", "</ground>", "<objects>", "</objects>", "<object>", "<region1>", "<region7>", "<",
     "<region99>", "<think>", "</think>", "<answer>", "</answer>", "None", "cat", " ", "\n", "12",
     "<|im_end|>", "two", ">", "\x00", "\ud800"]
)  # fmt: skip
ANY_TEXT = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))


@settings(max_examples=400)
@given(ANY_TEXT, st.integers(0, 8))
def test_any_text_is_read_without_an_exception(text: str, num_regions: int) -> None:
    answer = parse_answer(text, num_regions)
    labels = [item.phrase for item in answer.groundings]
    assert len(set(labels)) == len(labels)
    for item in answer.groundings:
        assert len(set(item.regions)) == len(item.regions)
        assert all(0 <= region < num_regions for region in item.regions)
    number = parse_count(text)
    assert number is None or number >= 0
    texts, _ = parse_region_texts(text, range(num_regions))
    assert {item.region for item in texts} <= set(range(num_regions))
    plain_text(text)


@given(st.dictionaries(st.sampled_from(["cat", "red cup", "a, b", "7"]),
                       st.lists(st.integers(0, 99), unique=True)))  # fmt: skip
def test_what_is_written_is_read_back(labels: dict[str, list[int]]) -> None:
    text = "".join(
        f"<ground>{label}</ground><objects>{''.join(f'<region{n}>' for n in regions)}</objects>"
        for label, regions in labels.items()
    )
    answer = parse_answer(text, 100)
    assert {item.phrase: list(item.regions) for item in answer.groundings} == labels
    assert answer.problems == ()


@pytest.mark.parametrize(
    "piece", ["<ground>", "<ground>a </ground>", "<objects>", "<", " ", "<objects> "]
)
def test_long_damage_is_read_in_linear_time(piece: str) -> None:
    start = time.perf_counter()
    parse_answer(piece * 20_000, 10)
    plain_text(piece * 20_000)
    parse_count(piece * 20_000)
    assert time.perf_counter() - start < 3


def test_a_list_left_open_in_a_thought_ends_with_it() -> None:
    text = "<think>see <objects><region1></think>It is <region2>, <objects><region0>"
    cited = parse_answer(text, 3).citations
    assert [(c.region, c.part, c.phrase) for c in cited] == [
        (1, "thought", ""),
        (2, "answer", None),
        (0, "answer", ""),
    ]
    assert [text[c.start : c.end] for c in cited] == ["<region1>", "<region2>", "<region0>"]


def test_no_answer_tag_is_left_in_an_answer() -> None:
    assert parse_answer("<answer><answer>a cup</answer></answer>", 0).answer == "a cup"
