import numpy as np

from fo1.data.negatives import MOST, USUAL, Vocabulary, choose
from fo1.data.schema import PictureRef, Record, TrueObject

PICTURES = (PictureRef("p.png", (100, 100)),)


def record(*names: str, looked_for: tuple[str, ...] = (), absent: tuple[str, ...] = ()) -> Record:
    objects = tuple(TrueObject((1, 1, 9, 9), (name,)) for name in names)
    return Record(key="r", pictures=PICTURES, objects=objects, looked_for=looked_for, absent=absent)


def test_a_vocabulary_counts_and_remembers_what_stands_together() -> None:
    found = Vocabulary.of(
        [record("cup", "table", "cup"), record("cup", "table"), record("cup", "spoon")]
    )
    assert found.names == ("cup", "spoon", "table")
    assert found.counts == {"cup": 4, "table": 2, "spoon": 1}
    assert found.beside == {"cup": ("table", "spoon"), "table": ("cup",), "spoon": ("cup",)}


def test_names_that_were_looked_for_belong_to_it() -> None:
    found = Vocabulary.of([record("cup", looked_for=("cup", "fork"), absent=("bus",))])
    assert found.names == ("bus", "cup", "fork")
    assert found.counts == {"cup": 1}


def test_alike_are_names_that_share_a_word_or_most_letters() -> None:
    found = Vocabulary.of([record("table lamp", "street lamp", "towel", "tower", "zoo")])
    assert found.alike["table lamp"] == ("street lamp",)
    assert found.alike["towel"] == ("tower",)
    assert found.alike["zoo"] == ()


def test_a_common_word_does_not_make_names_alike() -> None:
    names = [f"red {chr(97 + i % 26) * 5}{chr(97 + i // 26) * 5}" for i in range(USUAL + 1)]
    assert not any(Vocabulary.of([record(looked_for=tuple(names))]).alike[n] for n in names[:1])
    few = Vocabulary.of([record(looked_for=tuple(names[: MOST + 5]))])
    assert {len(few.alike[name]) for name in names[: MOST + 5]} == {MOST}


def test_hard_are_absent_names_alike_first_then_what_often_stands_beside() -> None:
    found = Vocabulary.of([record("street lamp", "table lamp", "car"), record("table lamp", "cat")])
    absent = ["zoo", "cat", "car", "street lamp"]
    assert found.hard(["table lamp"], absent) == ["street lamp", "car", "cat"]
    assert found.hard(["table lamp"], ["zoo"]) == []
    assert found.hard(["unheard of"], absent) == []


def test_a_vocabulary_of_nothing_is_empty() -> None:
    found = Vocabulary.of([])
    assert (found.names, found.hard(["cat"], ["dog"])) == ((), [])


def test_choose_takes_so_many_and_no_name_twice() -> None:
    rng = np.random.default_rng(0)
    assert sorted(choose(["a", "b", "c"], 9, rng)) == ["a", "b", "c"]
    assert choose([], 2, rng) == []
    assert choose(["a", "b"], 0, rng) == []
    assert {name for _ in range(30) for name in choose(["a", "b", "c"], 1, rng)} == {"a", "b", "c"}
