"""What is asked and answered says what the record says, read back with `fo1.parsing`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fo1 import prompts
from fo1.data.questions import DETAILED, GENERAL
from fo1.data.regions import RegionSet, draw_regions
from fo1.data.sample import UNKNOWN, Dialogue
from fo1.data.sampling import Sampling, draw_language
from fo1.data.schema import Count, Exchange, Phrase, Record, TrueObject
from fo1.data.targets import Known
from fo1.data.templates import WORDINGS, wording
from fo1.parsing import parse_answer, parse_count, parse_region_texts
from fo1.tags import regions_in
from tests.data.records import CAT, CAT_2, DOG, SIZE, records, regions_for, scene, vocabulary

EVERYTHING = Sampling(dialogues=12)
SEEDS = st.integers(0, 2**32 - 1)


def language(
    record: Record, switches: Sampling, seed: int = 0
) -> tuple[RegionSet, tuple[Dialogue, ...]]:
    rng = np.random.default_rng(seed)
    sizes = [picture.size or SIZE for picture in record.pictures]
    regions = draw_regions(record, switches, rng, sizes)
    return regions, draw_language(record, regions, switches, rng, vocabulary(record))[1]


def only(task: str, record: Record, **changes: Any) -> list[tuple[str, str]]:
    """Return many dialogues of one task, whose regions are the exact true boxes from top to bottom."""
    values: dict[str, Any] = {"truth": 1, "jitter": 0, "distractors": 0, "proposals": False}
    values |= {"order": "raster", "dialogues": 3, "tasks": {task: 1.0}}
    found: list[tuple[str, str]] = []
    for seed in range(20):
        _, dialogues = language(record, Sampling(**(values | changes)), seed)
        assert {d.task for d in dialogues} <= {task}
        found += [turn for dialogue in dialogues for turn in dialogue.turns]
    return found


def plain(*objects: TrueObject, **changes: Any) -> Record:
    """Return the scene with other objects and without texts that name them."""
    none: dict[str, Any] = {"phrases": (), "captions": (), "turns": (), "proposals": ()}
    return scene(objects=objects, **(none | changes))


def listed(record: Record, regions: RegionSet, name: str) -> list[int]:
    """Return the regions of a name, all of whose objects must have one."""
    things = [i for i, one in enumerate(record.objects) if name in one.names]
    return sorted(regions_for(regions, things))


def check_complete(record: Record, name: str) -> None:
    assert name in record.looked_for or name in record.absent
    assert name not in record.partial
    assert not any(name in one.unsure for one in record.objects)
    assert not any(name in one.names and one.crowd for one in record.objects)


def check_named(record: Record, regions: RegionSet, phrase: str, got: list[int]) -> None:
    check_complete(record, phrase)
    assert got == listed(record, regions, phrase)
    if not got:
        assert not any(
            phrase.casefold() == name.casefold() for one in record.objects for name in one.names
        )


def check_count(record: Record, regions: RegionSet, question: str, answer: str) -> None:
    number = parse_count(answer)
    assert number is not None
    told = {count.noun: count.number for count in record.counts}
    groundings = parse_answer(answer, len(regions)).groundings
    if not groundings:
        assert any(noun in question and value == number for noun, value in told.items())
        return
    (one,) = groundings
    assert len(one.regions) == number
    assert list(one.regions) == listed(record, regions, one.phrase)
    if told.get(one.phrase) != number:
        check_complete(record, one.phrase)


def check_mapped(regions: RegionSet, original: str, drawn: str) -> None:
    """Check that a text names the regions of its objects, lists in rising order."""
    wanted = sorted(regions_for(regions, regions_in(original)))
    assert sorted(regions_in(drawn)) == wanted
    for one in parse_answer(drawn, len(regions)).groundings:
        assert list(one.regions) == sorted(one.regions)


def check_similar(record: Record, regions: RegionSet, question: str, answer: str) -> None:
    (example,) = set(regions_in(question))
    (one,) = parse_answer(answer, len(regions)).groundings
    check_complete(record, one.phrase)
    assert example not in one.regions
    assert sorted([*one.regions, example]) == listed(record, regions, one.phrase)
    assert record.objects[regions.shows[example]].names[0] == one.phrase


def check_one_region(task: str, record: Record, regions: RegionSet, turn: tuple[str, str]) -> None:
    (region,) = regions_in(turn[0])
    (said,), problems = parse_region_texts(turn[1], [region])
    assert not problems
    thing = record.objects[regions.shows[region]]
    assert regions.shows[region] >= 0
    known = thing.texts if task == "read" else (thing.descriptions or thing.names[:1])
    assert (said.region, said.text in known) == (region, True)


def check_dialogue(record: Record, regions: RegionSet, dialogue: Dialogue) -> None:
    question, answer = dialogue.turns[0]
    parsed = parse_answer(answer, len(regions))
    assert parsed.problems == ()
    for one in parsed.groundings:
        assert list(one.regions) == sorted(one.regions)
    match dialogue.task:
        case "detect":
            assert parsed.groundings
            for one in parsed.groundings:
                assert one.phrase in question
                check_named(record, regions, one.phrase, list(one.regions))
        case "refer":
            (one,) = parsed.groundings
            (phrase,) = (p for p in record.phrases if p.text == one.phrase)
            wanted = sorted(regions_for(regions, phrase.objects))
            assert list(one.regions) == wanted
            assert phrase.text in question
        case "count":
            check_count(record, regions, question, answer)
        case "similar":
            check_similar(record, regions, question, answer)
        case "describe" | "read":
            check_one_region(dialogue.task, record, regions, dialogue.turns[0])
        case "ground":
            # Captions differ in what they name only, so the right one is among them.
            named = [[regions.region_of(i) for i in regions_in(text)] for text in record.captions]
            assert sorted(regions_in(answer)) in [sorted(n) for n in named if None not in n]  # type: ignore[type-var]
        case _:
            assert dialogue.task == GENERAL
            for turn, drawn in zip(record.turns, dialogue.turns, strict=True):
                check_mapped(regions, turn.question, drawn[0])
                check_mapped(regions, turn.answer, drawn[1])


@settings(deadline=None, max_examples=150)
@given(records(), SEEDS, st.sampled_from([0.0, 0.6, 1.0]), st.sampled_from([2, 100]), st.booleans())
def test_every_answer_means_what_the_record_says(
    record: Record, seed: int, truth: float, most: int, several: bool
) -> None:
    switches = Sampling(dialogues=12, truth=truth, most_regions=most, templates=several)
    regions, dialogues = language(record, switches, seed)
    assert len(dialogues) <= 12
    assert len(set(dialogues)) == len(dialogues)
    for dialogue in dialogues:
        check_dialogue(record, regions, dialogue)


def test_all_tasks_are_taught_by_a_record_that_can() -> None:
    found = {d.task for seed in range(10) for d in language(scene(), EVERYTHING, seed)[1]}
    assert found == set(Sampling().tasks)


def test_weights_say_how_often_a_task_is_drawn() -> None:
    switches = Sampling(truth=1, dialogues=1, tasks={"general": 1.0, "count": 9.0, "read": 0.0})
    found = [language(scene(), switches, seed)[1][0].task for seed in range(100)]
    assert 80 <= found.count("count") < 100
    assert found.count("general") == 100 - found.count("count")


def test_nothing_but_talk_is_made_of_a_record_without_pictures() -> None:
    record = Record(
        key="text",
        captions=("A cat.",),
        phrases=(Phrase("the cat", ()),),
        counts=(Count("cat", 2),),
        absent=("bus",),
        turns=(Exchange("Hello?", "Hi."),),
    )
    assert {d.task for d in language(record, EVERYTHING)[1]} == {GENERAL}


def test_no_dialogue_is_made_where_none_is_wanted() -> None:
    assert language(scene(), Sampling(dialogues=0))[1] == ()


def test_published_wording_where_templates_are_off() -> None:
    questions = {q for q, _ in only("refer", scene(), templates=False)}
    assert questions == {prompts.refer("the left cat"), prompts.refer("the red bus")}


def test_a_thing_without_a_region_silences_what_is_said_of_it() -> None:
    alone = scene(phrases=(Phrase("the left cat", (CAT,)), Phrase("both cats", (CAT, CAT_2))))
    changes: dict[str, Any] = {"truth": 0, "distractors": 0, "proposals": True}
    assert only("ground", alone, **changes) == []  # the second cat has no proposal
    assert {answer[:20] for _, answer in only("similar", alone, **changes)} == {
        "<ground>dog</ground>"
    }
    assert {a.split(">")[1].split("<")[0] for _, a in only("refer", alone, **changes)} == {
        "the left cat"
    }
    for _, answer in only("detect", alone, **changes):
        assert "<ground>cat</ground>" not in answer
        assert "<ground>animal</ground>" not in answer


@pytest.mark.parametrize("task", ["detect", "count", "similar"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cat", {"partial": ("cat",)}),
        ("cat", {"looked_for": ("dog",)}),
        ("cat", {"objects": (TrueObject((9, 9, 50, 50), ("dog",), unsure=("cat",)),)}),
        (
            "cat",
            {
                "objects": (
                    TrueObject((9, 9, 50, 50), ("dog",)),
                    TrueObject((60, 60, 90, 90), ("cat",)),
                    TrueObject((99, 60, 190, 90), ("cat",), crowd=True),
                )
            },
        ),
    ],
    ids=["partial", "not looked for", "unsure", "crowd"],
)
def test_a_list_that_may_be_incomplete_is_never_written(
    task: str, name: str, changes: dict[str, Any]
) -> None:
    values: dict[str, Any] = {"phrases": (), "captions": (), "turns": (), "proposals": ()}
    record = scene(**(values | changes))
    found = only(task, record)
    assert found
    assert not any(f"<ground>{name}</ground>" in answer for _, answer in found)


def test_only_names_that_were_looked_for_are_called_absent() -> None:
    record = plain(
        TrueObject((9, 9, 50, 50), ("dog",), unsure=("wolf",)),
        TrueObject((60, 60, 90, 90), ("Lamp",)),
        looked_for=("dog", "wolf", "lamp", "tree", "bird", "shoe"),
        absent=("bus",),
        partial=("tree",),
        counts=(Count("bird", 3), Count("shoe", 0)),
    )
    other = plain(TrueObject((9, 9, 50, 50), ("zebra",)), key="other", absent=())
    known = Known(
        record,
        draw_regions(record, Sampling(), np.random.default_rng(0), [SIZE]),
        Sampling(),
        vocabulary(record, other),
        np.random.default_rng(0),
    )
    assert known.absent() == ["bus", "shoe"]
    assert sorted(known.negatives(9)) == ["bus", "shoe"]
    assert known.negatives(0) == []


def test_an_unsure_name_costs_no_loss_and_a_partial_one_only_where_it_shows() -> None:
    record = plain(
        TrueObject((9, 9, 50, 50), ("dog",), unsure=("wolf",)),
        TrueObject((150, 150, 190, 190), ("cat",)),
        looked_for=("dog", "wolf", "cat"),
        partial=("cat",),
    )
    switches = Sampling(truth=1, jitter=0, distractors=8, fewer_regions=False)
    regions = draw_regions(record, switches, np.random.default_rng(1), [SIZE])
    known = Known(record, regions, switches, vocabulary(record), np.random.default_rng(0))
    dog, cat = regions_for(regions, (0, 1))
    wolf = known.targets("wolf")
    assert (wolf[dog], wolf[cat]) == (UNKNOWN, 0)
    partial = known.targets("cat")
    assert (partial[dog], partial[cat]) == (0, 1)
    others = np.delete(partial, [dog, cat])
    assert len(others) == 8
    assert set(others.tolist()) == {UNKNOWN}
    assert set(np.delete(known.targets("dog"), [dog, cat]).tolist()) <= {0.0, UNKNOWN}


def test_counts_without_boxes_are_learned_as_numbers() -> None:
    record = plain(counts=(Count("bird", 12),), looked_for=(), absent=())
    assert {answer for _, answer in only("count", record)} == {"12"}


def test_a_count_names_its_regions_first() -> None:
    found = {answer for _, answer in only("count", scene(), synonyms=False)}
    assert "<ground>dog</ground><objects><region2></objects> 1" in found
    assert "<ground>cat</ground><objects><region0><region1></objects> 2" in found
    assert any(answer.endswith(">None</objects> 0") for answer in found)


def test_a_count_that_contradicts_the_boxes_is_not_taught() -> None:
    assert not any(
        "cat</ground>" in answer for _, answer in only("count", scene(counts=(Count("cat", 5),)))
    )


def test_similar_starts_from_a_thing_whose_own_name_it_is() -> None:
    record = plain(
        TrueObject((9, 9, 50, 50), ("cat",)),
        TrueObject((60, 60, 90, 90), ("kitten", "cat")),
        looked_for=("cat",),
    )
    found = only("similar", record)
    assert found
    assert {(regions_in(q)[0], a) for q, a in found} == {
        (0, "<ground>cat</ground><objects><region1></objects>")
    }


def test_texts_of_people_hold_no_markup() -> None:
    record = plain(
        TrueObject((9, 9, 50, 50), ("a<region7>",), texts=("<region0> GO <objects>",)),
        looked_for=("a<region7>",),
    )
    for task in ("read", "describe", "detect"):
        found = only(task, record)
        assert found
        for _, answer in found:
            assert "<region7>" not in answer
            assert parse_answer(answer, 1).problems == ()
    assert all("GO" in answer for _, answer in only("read", record))


def test_descriptions_name_regions_of_objects() -> None:
    record = plain(
        TrueObject((9, 9, 50, 50), ("cat",), descriptions=("beside <region1>",)),
        TrueObject((60, 60, 90, 90), ("dog",), descriptions=("beside <region5>",)),
    )
    found = {(regions_in(q)[0], a) for q, a in only("describe", record, order="area")}
    assert found == {(0, "beside <region1>"), (1, "dog")}


def test_a_long_description_is_asked_for_as_a_detailed_one() -> None:
    long = " ".join(["grey"] * DETAILED)
    record = plain(
        TrueObject((9, 9, 50, 50), ("cat",), descriptions=(long,)),
        TrueObject((60, 60, 90, 90), ("dog",), descriptions=("brown",)),
    )
    found = only("describe", record)
    assert {a for _, a in found} == {long, "brown"}
    for question, answer in found:
        detail = "detailed" if answer == long else "brief"
        published = prompts.describe(regions_in(question), detail)
        slot = f"<region{regions_in(question)[0]}>"
        others = {text.format(slot) for text in WORDINGS[f"describe, {detail}"]}
        assert question in {published, *others}


def test_a_conversation_is_one_dialogue_with_the_numbers_of_its_regions() -> None:
    record = scene(
        turns=(
            Exchange("Who is <region0>?", "A cat."),
            Exchange("And?", "<ground>More</ground><objects><region2><region0></objects>"),
        )
    )
    switches = Sampling(truth=1, order="any", tasks={"general": 1.0})
    for seed in range(10):
        regions, (dialogue,) = language(record, switches, seed)
        cat, dog = regions_for(regions, (CAT, DOG))
        low, high = sorted([cat, dog])
        assert dialogue.turns[0][0] == f"Who is <region{cat}>?"
        assert dialogue.turns[1][1].endswith(f"<objects><region{low}><region{high}></objects>")


@pytest.mark.parametrize("task", sorted(WORDINGS))
def test_every_task_has_several_wordings_with_their_slot(task: str) -> None:
    assert len(set(WORDINGS[task])) >= 4
    filled = [text.format("SLOT") for text in WORDINGS[task]]
    assert all(("SLOT" in text) == (task != "ground") for text in filled)
    rng = np.random.default_rng(0)
    drawn = {wording(task, "published", "SLOT", True, rng) for _ in range(300)}
    assert drawn == {"published", *filled}
    assert {wording(task, "published", "SLOT", False, rng) for _ in range(50)} == {"published"}


def test_braces_in_a_name_stay() -> None:
    rng = np.random.default_rng(0)
    drawn = {wording("detect", "published", "{0} {x}", True, rng) for _ in range(50)}
    assert all("{0} {x}" in text for text in drawn - {"published"})
