"""Every sentence is read back with regular expressions and checked by brute force."""

import re

import numpy as np
import pytest

from fo1.data.language import absent, caption, counting, referring
from fo1.data.nouns import article, plural
from fo1.data.pictures import Concept, PicturePack
from fo1.data.scenes import Scene, SceneGenerator, SceneObject

RANKS = {"second": 1, "third": 2}
COLOURS = "red|orange|yellow|green|blue|purple|pink|brown|black|white|gray"


def centre(thing: SceneObject) -> tuple[float, float]:
    return (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2


def area(thing: SceneObject) -> float:
    return (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])


def called(scene: Scene, noun: str) -> list[int]:
    return [i for i, thing in enumerate(scene.objects) if noun in thing.names]


def read(scene: Scene, text: str) -> list[int]:
    """Returns the indices that an expression holds for, from the words alone."""
    nouns = "|".join(
        sorted({re.escape(n) for t in scene.objects for n in t.names}, key=len, reverse=True)
    )
    things = scene.objects
    if m := re.fullmatch(f"the ({nouns})", text):
        return called(scene, m[1])
    if m := re.fullmatch(f"the (?:(leftmost|rightmost|topmost|lowest) )({nouns})", text):
        axis, sign = {
            "leftmost": (0, 1),
            "rightmost": (0, -1),
            "topmost": (1, 1),
            "lowest": (1, -1),
        }[m[1]]
        return [min(called(scene, m[2]), key=lambda i: sign * centre(things[i])[axis])]
    if m := re.fullmatch(f"the ({nouns}) (?:on the (left|right)|at the (top|bottom))", text):
        axis, sign = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}[
            m[2] or m[3]
        ]
        return [min(called(scene, m[1]), key=lambda i: sign * centre(things[i])[axis])]
    if m := re.fullmatch(f"the (second|third) ({nouns}) from the (left|right)", text):
        order = sorted(called(scene, m[2]), key=lambda i: centre(things[i])[0])
        return [(order if m[3] == "left" else order[::-1])[RANKS[m[1]]]]
    if m := re.fullmatch(f"the ({nouns}) in the middle", text):
        order = sorted(called(scene, m[1]), key=lambda i: centre(things[i])[0])
        return order[1:-1]
    if m := re.fullmatch(f"the (largest|biggest|smallest) ({nouns})", text):
        sign = 1 if m[1] == "smallest" else -1
        return [min(called(scene, m[2]), key=lambda i: sign * area(things[i]))]
    if m := re.fullmatch(f"the ({COLOURS}) ({nouns})", text):
        return [i for i in called(scene, m[2]) if things[i].colour == m[1]]
    where = "to the left of|to the right of|above|below|closest to"
    if m := re.fullmatch(f"the ({nouns}) ({where}) the ({nouns})", text):
        marks = called(scene, m[3])
        assert len(marks) == 1, f"{text}: the anchor is not unique"
        mark = things[marks[0]]
        members = called(scene, m[1])
        if m[2] == "closest to":
            return [
                min(members, key=lambda i: np.hypot(*np.subtract(centre(things[i]), centre(mark))))
            ]
        axis = 0 if "left" in m[2] or "right" in m[2] else 1
        sign = -1 if "left" in m[2] or m[2] == "above" else 1
        return [i for i in members if sign * (centre(things[i])[axis] - centre(mark)[axis]) > 0]
    raise AssertionError(f"cannot read {text!r}")


def test_expressions_hold_for_exactly_their_object(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(1)
    kinds: set[str] = set()
    total = 0
    for scene in scenes:
        found = referring(scene, rng)
        assert len({text for text, _ in found}) == len(found)
        for text, index in found:
            assert read(scene, text) == [index], (text, scene.index)
            words = (
                "leftmost",
                "rightmost",
                " at the top",
                " at the bottom",
                "largest",
                "smallest",
                "to the left of",
                "to the right of",
                "above",
                "below",
                "second",
                "closest",
                "middle",
            )
            kinds |= {word for word in words if word in text}
            kinds |= {"colour"} if re.match(f"the ({COLOURS}) ", text) else set()
        total += len(found)
    assert len(kinds) == 14, kinds
    assert total > 5 * len(scenes)


def test_expressions_keep_clear_of_close_calls(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(2)
    for scene in scenes:
        for text, index in referring(scene, rng):
            if m := re.fullmatch("the leftmost (.*)", text):
                others = [i for i in called(scene, m[1]) if i != index]
                gap = min(centre(scene.objects[i])[0] for i in others)
                assert gap - centre(scene.objects[index])[0] >= 0.04 * scene.image.width
            if m := re.fullmatch("the largest (.*)", text):
                others = [i for i in called(scene, m[1]) if i != index]
                rival = max(area(scene.objects[i]) for i in others)
                assert area(scene.objects[index]) >= 1.4 * rival


def thing(name: str, box: tuple[float, float, float, float], **more: object) -> SceneObject:
    facts: dict[str, object] = {"names": (name,), "unsure": (), "colour": ""} | more
    return SceneObject(
        box, name, name, "noto", str(facts["colour"]), 1.0, facts["names"], facts["unsure"]
    )  # type: ignore[arg-type]


def scene_of(pack_scene: Scene, *things: SceneObject) -> Scene:
    return Scene(pack_scene.image.resize((400, 400)), things, (), "plain", 0, 0)


def test_a_doubtful_thing_blocks_the_sentence(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    wolf = thing("wolf", (0, 0, 50, 50), unsure=("dog",))
    dogs = (thing("dog", (100, 0, 150, 50)), thing("dog", (300, 0, 350, 50)))
    scene = scene_of(scenes[0], wolf, *dogs)
    assert not any("dog" in text.split(" to ")[0] for text, _ in referring(scene, rng))
    assert [count.noun for count in counting(scene, rng)] == ["wolf"]
    clear = scene_of(scenes[0], thing("wolf", (0, 0, 50, 50)), *dogs)
    assert ("the leftmost dog", 1) in referring(clear, rng)
    assert {(c.noun, c.number) for c in counting(clear, rng)} == {("wolf", 1), ("dog", 2)}


def test_colours_that_are_neighbours_are_not_told_apart(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    boxes = ((0.0, 0.0, 50.0, 50.0), (200.0, 0.0, 250.0, 50.0))
    for other, expected in (("orange", False), ("", False), ("blue", True)):
        scene = scene_of(
            scenes[0], thing("cup", boxes[0], colour="red"), thing("cup", boxes[1], colour=other)
        )
        assert (("the red cup", 0) in referring(scene, rng)) is expected


def test_counts_equal_brute_force(scenes: list[Scene], pack: PicturePack) -> None:
    rng = np.random.default_rng(3)
    numbers: list[int] = []
    for scene in scenes:
        for count in counting(scene, rng):
            concepts = [pack.concepts.get(t.concept) for t in scene.objects]
            truth = [
                i
                for i, (t, c) in enumerate(zip(scene.objects, concepts, strict=True))
                if (count.noun in (c.name, *c.synonyms, *c.kinds) if c else count.noun in t.names)
            ]
            assert list(count.objects) == truth
            assert count.number == len(truth) > 0
            assert not any(c and count.noun in c.lookalikes for c in concepts)
            numbers.append(count.number)
    assert sum(number > 1 for number in numbers) > 100
    assert max(numbers) >= 5


def test_absent_names_are_absent(
    generator: SceneGenerator, scenes: list[Scene], pack: PicturePack
) -> None:
    rng = np.random.default_rng(4)
    vocabulary = list(generator.concepts.values())
    for scene in scenes:
        names = absent(scene, rng, 60, vocabulary)
        assert len(set(names)) == len(names) == 60
        for name in names:
            for t in scene.objects:
                concept = generator.concepts[t.concept]
                assert name not in concept.names, (name, concept)
                assert name not in concept.lookalikes, (name, concept)
            senses = [c for c in vocabulary if name in (c.name, *c.synonyms)]
            own = {w for t in scene.objects for w in generator.concepts[t.concept].names[:1]}
            for sense in senses:
                assert not own & set(sense.kinds), f"{name} is a kind of something present"
                assert not own & set(sense.lookalikes)
        assert not pack.held_out & {c.slug for c in vocabulary if c.name in names}


def test_absent_knows_finer_and_broader_words(scenes: list[Scene], pack: PicturePack) -> None:
    vocabulary = list(pack.concepts.values())
    rng = np.random.default_rng(0)

    def names_beside(slug: str) -> set[str]:
        concept = pack.concepts[slug]
        scene = scene_of(
            scenes[0],
            thing(concept.name, (0, 0, 9, 9), names=concept.names, unsure=concept.lookalikes),
        )
        return set(absent(scene, rng, 5000, vocabulary))

    assert not names_beside("duck") & {"duck", "bird", "animal"}
    assert not names_beside("bird") & {"duck", "owl", "bird", "penguin"}
    assert not names_beside("car") & {"taxi", "automobile", "vehicle", "wheel"}
    assert not names_beside("man") & {"person", "hat", "nose", "chef", "boy"}
    assert "cup of coffee" in names_beside("duck")
    assert "animal" in names_beside("hammer")


def test_absent_gives_what_there_is(scenes: list[Scene]) -> None:
    vocabulary = [Concept("cat", "cat"), Concept("zeppelin", "zeppelin", ("airship",))]
    names = absent(scenes[0], np.random.default_rng(0), 9, vocabulary)
    assert set(names) <= {"cat", "zeppelin", "airship"}
    assert {"zeppelin", "airship"} <= set(names)


def test_captions_name_everything(scenes: list[Scene]) -> None:
    for scene in scenes:
        text = caption(scene)
        assert text[0].isupper()
        assert text.endswith(".")
        for t in scene.objects:
            assert t.name in text.lower() or plural(t.name) in text.lower()
    pair = scene_of(
        scenes[0],
        thing("dog", (0, 0, 9, 9)),
        thing("dog", (20, 0, 29, 9)),
        thing("egg", (0, 50, 60, 99), colour="white"),
    )
    assert caption(pair) == "A white egg and two dogs on a plain background."


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("cup of coffee", "cups of coffee"),
        ("old man", "old men"),
        ("bus", "buses"),
        ("mouse", "mice"),
        ("computer mouse", "computer mice"),
        ("sheep", "sheep"),
        ("fly", "flies"),
        ("key", "keys"),
        ("knife", "knives"),
        ("tropical fish", "tropical fish"),
        ("box", "boxes"),
        ("meat on the bone", "meats on the bone"),
        ("potato", "potatoes"),
        ("toy", "toys"),
        ("wrench", "wrenches"),
        ("maple leaf", "maple leaves"),
        ("person", "people"),
    ],
)
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [
        ("dog", "a dog"),
        ("apple", "an apple"),
        ("unicorn", "a unicorn"),
        ("hourglass", "an hourglass"),
        ("umbrella", "an umbrella"),
        ("ufo", "a ufo"),
        ("x-ray", "an x-ray"),
        ("grapes", "grapes"),
        ("axe", "an axe"),
    ],
)
def test_article(noun: str, phrase: str) -> None:
    assert article(noun) == phrase
