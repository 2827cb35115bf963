"""FO1 and Scene on tiny random models: layout, scores, texts, threads, loading."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fo1.data.collator import IGNORED, Collator
from fo1.data.sample import Dialogue, Query, Sample
from fo1.errors import BoxError, CheckpointError, ImageError, InputError, QueryError
from fo1.layout import Picture, Turn, build_prompt, query_branch, scene_prefix
from fo1.lexicon import Lexicon
from fo1.models.decoding import decode
from fo1.models.scoring import Branches, evidence_chance, join_evidence
from fo1.models.ssd import SSDMobileNetV2
from fo1.pipeline import DEFAULT_THRESHOLD, FO1, Request, Scene
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import Row
from fo1.prompts import Task, describe
from fo1.proposals import get_proposer
from fo1.proposals.detector import SSDProposer
from fo1.results import Detections, Proposals
from tests import tiny
from tests.pipeline.conftest import SIZE, front, record

PUBLISHED = tiny.TOKENIZER
FAR = [[0, 0, 40, 40], [60, 60, 100, 100], [2, 2, 41, 41]]  # the third lies on the first


def scene_of(model: FO1, count: int = 3, seed: int = 0) -> Scene:
    return model.encode(tiny.picture(*SIZE, seed=seed), tiny.boxes(count, *SIZE, seed=seed))


def assert_same(one: Detections, other: Detections) -> None:
    """Assert equality up to what another batch size does to the last bits of a score."""
    assert one.labels == other.labels
    assert one.regions.tolist() == other.regions.tolist()
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


@contextmanager
def answers(monkeypatch: pytest.MonkeyPatch, *texts: str) -> Iterator[list[Row]]:
    """Let the model write these texts inside the `with`; yields the rows that it was given."""
    with monkeypatch.context() as patch:
        yield record(patch, *texts)


def questions(rows: list[Row]) -> list[str]:
    """Return what rows ask, without the picture and its regions."""
    said = [row.prompt.split("<|im_start|>user\n")[-1].split("<|im_end|>")[0] for row in rows]
    return [re.sub(r"^<\|vision_start\|>.*\n(<region.*feat>\n)?", "", text) for text in said]


@contextmanager
def probabilities(monkeypatch: pytest.MonkeyPatch, table: list[list[float]]) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "match", lambda *_: [np.array(table, np.float32)])
        yield


# Layout: what the model is fed equals what it was trained on.


def collated(
    model: FO1, pictures: list[Image.Image], boxes: list[np.ndarray], turns: Any = ()
) -> Any:
    samples = [
        Sample(
            key=str(number),
            images=(image,),
            boxes=(found,),
            features=torch.zeros(len(found), 1),
            queries=tuple(
                Query(name, np.zeros(len(found), np.float32)) for name in ("cat", "coffee cup")
            )
            * (not turns),
            dialogues=tuple(Dialogue((turn,), "describe") for turn in turns),
        )
        for number, (image, found) in enumerate(zip(pictures, boxes, strict=True))
    ]
    repeat = model.engine.model.config.repeat_regions
    return Collator(model.engine.processor, repeat_regions=repeat)(samples)


def test_scored_rows_equal_the_collators(scoring: FO1, monkeypatch) -> None:
    pictures = [tiny.picture(*SIZE), tiny.picture(84, 196, seed=1)]
    boxes = [tiny.boxes(3, *SIZE), tiny.boxes(5, 84, 196)]
    batch = collated(scoring, pictures, boxes)
    fed: dict[str, Any] = {}
    model = scoring.engine.model
    real = model.branch_states

    def spy(ids: Any, mask: Any, branches: Any, **rest: Any) -> Any:
        fed.update(ids=ids, mask=mask, branches=branches, **rest)
        return real(ids, mask, branches, **rest)

    monkeypatch.setattr(model, "branch_states", spy)
    scoring.detect(pictures, ["cat", " coffee  cup"], boxes=boxes, batch_size=2)
    assert (fed["mask"] == 0).any()
    packed, branches = batch.packed, fed["branches"]
    for row in range(2):
        prefix = packed.ids[row][(packed.scene[row] == row) & (packed.branch[row] < 0)]
        assert torch.equal(fed["ids"][row][fed["mask"][row] == 1], prefix)
        asked = packed.branch[row] >= 0
        for name, theirs in (("ids", packed.ids), ("owner", packed.branch), ("words", batch.words)):
            assert torch.equal(getattr(branches, name)[row], theirs[row][asked])
    assert torch.equal(fed["region_index"], batch.region_index)
    assert torch.equal(fed["image_grid_thw"], batch.pictures["image_grid_thw"])


def test_written_rows_equal_the_collators(seeing: FO1, monkeypatch) -> None:
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(4, *SIZE)
    batch = collated(seeing, [picture], [boxes], turns=((describe([2]), "a cup"),))
    fed: dict[str, Any] = {}

    def spy(model: Any, **given: Any) -> Any:
        fed.update(given)
        return decode(model, **given)

    monkeypatch.setattr("fo1.pipeline.engine.decode", spy)
    scene = seeing.encode(picture, boxes)
    scene.describe([2])
    ids = torch.cat([fed["prefix"].ids[None], fed["input_ids"]], dim=1)
    assert torch.equal(ids, batch.packed.ids[batch.labels == IGNORED][None])
    assert batch.region_index.tolist() == [
        0,
        1,
        2,
        3,
        2,
    ]  # the prefix shows all, the question one again
    again = scene.tensors.regions.embeddings[[2]]
    assert torch.equal(fed["regions"].embeddings, again)


def test_prefix_and_question_equal_the_published_prompt(writing: FO1, monkeypatch) -> None:
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(2, *SIZE)
    processor = writing.engine.processor
    prompt = build_prompt(Turn("user", (Picture(2), "what, and why?")))
    expected = processor(images=[picture], boxes=[boxes], text=prompt)["input_ids"]
    fed: dict[str, Any] = {}

    def spy(model: Any, **given: Any) -> Any:
        fed.update(given)
        return decode(model, **given)

    monkeypatch.setattr("fo1.pipeline.engine.decode", spy)
    writing.encode(picture, boxes).ask("what, and why?")
    assert torch.equal(torch.cat([fed["prefix"].ids[None], fed["input_ids"]], dim=1), expected)


# One encoding, many questions.


def test_both_encoders_run_once_whatever_is_asked(seeing: FO1) -> None:
    model = seeing.engine.model
    calls = {"host": 0, "auxiliary": 0}

    def counter(name: str) -> Any:
        def hook(*_: Any) -> None:
            calls[name] += 1

        return hook

    hooks = [
        model.vlm.model.visual.register_forward_hook(counter("host")),
        model.region_encoder.auxiliary.register_forward_hook(counter("auxiliary")),
    ]
    scene = scene_of(seeing)
    scene.detect(["cat", "cup"])
    scene.refer("the cup on the left")
    scene.count("orange")
    scene.describe([0, 2])
    scene.read([1])
    scene.ground()
    scene.similar(1)
    scene.ask("why is <region1> wet?")
    for hook in hooks:
        hook.remove()
    assert calls == {"host": 1, "auxiliary": 1}


def test_a_scene_holds_no_maps(seeing: FO1) -> None:
    encoding = scene_of(seeing).tensors.picture.encoding
    assert (encoding.levels, encoding.auxiliary, encoding.host.maps) == ((), (), ())


def test_a_scene_is_a_value() -> None:
    model = front(tiny.make_model())
    boxes = tiny.boxes(2, *SIZE)
    scene = model.encode(tiny.picture(*SIZE), boxes)
    boxes[:] = 0
    assert scene.regions.max() > 0
    with pytest.raises(ValueError, match="read-only"):
        scene.regions[0, 0] = 1
    with pytest.raises(AttributeError):
        scene.proposer = "me"
    assert (len(scene), scene.proposer) == (2, "given")
    assert "2 regions by 'given'" in repr(scene)


# Scores.


def test_match_joins_the_models_score_and_the_evidence(seeing: FO1) -> None:
    scene = scene_of(seeing)
    engine, tensors, queries = seeing.engine, scene.tensors, ["dog", "zzz", "cat"]
    tokenizer = engine.processor.tokenizer
    lexicon = Lexicon.load()
    classes = [[lexicon.classes(query, s) for query in queries] for s in ("imagenet", "coco")]
    assert classes[0][0]
    assert not classes[0][1]
    ids = [tokenizer(query_branch(q), add_special_tokens=False)["input_ids"] for q in queries]
    markup = tokenizer.convert_tokens_to_ids(["<ground>", "</ground>", "<objects>"])
    row = Row(scene_prefix(3), (tensors,), ((0, 0), (0, 1), (0, 2)), 3)
    with torch.inference_mode():
        logits = engine.model.score(
            engine._ids([row])[0],
            Branches.pack([ids], markup),
            tensors.regions,
            classes,
            encoding=tensors.picture.encoding,
            **tensors.picture.inputs,
        )
        found = evidence_chance(tensors.regions.evidence, classes, [1.0, 1.0])
        names = torch.tensor([True, False, True])  # "zzz" is no name that the lexicon knows
        expected = join_evidence(logits.sigmoid(), *found, names)
    np.testing.assert_allclose(engine.match([tensors], queries)[0], expected.numpy(), atol=1e-6)
    without = Engine("blind", engine.model, engine.processor).match([tensors], queries)[0]
    assert (np.abs(without - engine.match([tensors], queries)[0]).max(0) > 0).tolist() == [1, 1, 1]


def test_queries_beyond_a_pass_are_asked_in_further_ones(scoring: FO1) -> None:
    scene = scene_of(scoring)
    names = [f"thing {number}" for number in range(130)]
    table = scoring.engine.match([scene.tensors], names)[0]
    assert table.shape == (3, 130)
    for column in (0, 64, 129):
        alone = scoring.engine.match([scene.tensors], [names[column]])[0]
        np.testing.assert_allclose(table[:, column], alone[:, 0], atol=1e-5)


def test_given_boxes_score_by_match_and_all_stay(scoring: FO1, monkeypatch) -> None:
    scene = scoring.encode(tiny.picture(*SIZE), FAR)
    with probabilities(monkeypatch, [[0.9, 0.1], [0.3, 0.2], [0.95, 0.6]]):
        found = scene.detect(["cat", "dog"])
        assert found.labels == ("cat", "cat", "dog")
        assert found.regions.tolist() == [2, 0, 2]
        np.testing.assert_allclose(found.scores, [0.95, 0.9, 0.6])
        assert len(scene.detect(["cat", "dog"], threshold=0.0)) == 6
        assert scene.count("cat").count == 2
        best = scene.refer("cat")
        assert best.regions.tolist() == [2]


def test_proposed_boxes_score_by_both_and_copies_go(scoring: FO1, monkeypatch) -> None:
    proposals = Proposals(FAR, [0.25, 0.81, 0.64], "mine")
    scene = scoring.encode(tiny.picture(*SIZE), proposals)
    assert scene.proposer == "mine"
    with probabilities(monkeypatch, [[0.9, 0.6], [0.1, 0.0], [0.9, 0.0]]):
        found = scene.detect(["cat", "dog"], threshold=0.2)
        # Region 0 is a copy of region 2 for the cat, but not for the dog, which region 2 is not.
        assert list(zip(found.labels, found.regions.tolist(), strict=True)) == [
            ("cat", 2),
            ("cat", 1),
            ("dog", 0),
        ]
        expected = np.sqrt([0.9 * 0.64, 0.1 * 0.81, 0.6 * 0.25])
        np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
        assert scene.detect("cat", threshold=0.2).regions.tolist() == [2, 1]
        assert scene.count("cat").count == 1
    with probabilities(monkeypatch, [[0.3], [0.3], [0.3]]):
        assert len(scene.refer("the left one", threshold=0.6)) == 0
        assert scene.refer("the left one", threshold=0.4).regions.tolist() == [1]
    assert DEFAULT_THRESHOLD == 0.4


def test_repeated_names_are_asked_once(scoring: FO1) -> None:
    scene = scene_of(scoring)
    found = scene.detect(["cat", " cat ", "dog"], threshold=0.0)
    assert found.labels == ("cat",) * 3 + ("dog",) * 3
    assert_same(scene.detect("cat", threshold=0.0), found[:3])


# Written answers.


def test_written_detections(writing: FO1, monkeypatch) -> None:
    given = writing.encode(tiny.picture(*SIZE), FAR)
    proposed = writing.encode(tiny.picture(*SIZE), Proposals(FAR, [0.2, 0.4, 0.6], "mine"))
    text = (
        "<ground>Coffee  Cup</ground><objects><region2><region0><region9></objects>"
        "<ground>cow</ground><objects><region1></objects>"
    )
    request = Request(task=Task.DETECT, queries=("coffee cup", "cat"))
    with answers(monkeypatch, text, text) as rows:
        outcome = given.answer(request)
        assert questions(rows) == [
            "Please detect coffee cup, cat in this image. Answer the question with object indexes."
        ]
        assert outcome.detections.labels == ("coffee cup", "coffee cup")
        assert outcome.detections.regions.tolist() == [2, 0]
        assert outcome.detections.scores.tolist() == [1, 1]
        assert len(outcome.problems) == 2
        assert any("region 9" in problem for problem in outcome.problems)
        assert any("'cow' was not asked" in problem for problem in outcome.problems)
        np.testing.assert_allclose(proposed.answer(request).detections.scores, [0.6, 0.2])
    with answers(monkeypatch, text):
        assert proposed.detect(["coffee cup", "cat"], threshold=0.5).regions.tolist() == [2]


def test_labels_of_any_length_are_only_problems(writing: FO1, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    with answers(monkeypatch, f"<ground>{'cow ' * 500}</ground><objects><region2></objects>"):
        outcome = scene.answer(Request(task=Task.DETECT, queries=("cat", "dog")))
    assert "was not asked for" in outcome.problems[0]


def test_written_expressions_may_match_several_regions(writing: FO1, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    with answers(monkeypatch, "<ground>cups</ground><objects><region0><region1></objects>"):
        found = scene.refer("the two cups")
    assert found.labels == ("the two cups",) * 2


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("<ground>cat</ground><objects><region0><region1></objects> There are 3 cats.", 3),
        ("<ground>cat</ground><objects><region0><region1></objects>", 2),
        ("There are no cats.", 0),
    ],
)
def test_written_counts(writing: FO1, monkeypatch, text: str, count: int) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    with answers(monkeypatch, text):
        result = scene.count("cat")
    assert int(result) == result.count == count
    assert "<" not in result.text
    assert len(result.detections) == text.count("<region")


def test_one_question_per_region(writing: FO1, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    with answers(monkeypatch, "a red cup", "EXIT") as rows:
        said = scene.describe([2, 0, 2], detail="detailed")
    assert [(item.region, item.text) for item in said] == [(2, "a red cup"), (0, "EXIT")]
    assert questions(rows)[0] == "Provide a detailed description for <region2>."
    with answers(monkeypatch, "A", "B", "C") as rows:
        assert [item.text for item in scene.read()] == ["A", "B", "C"]
    assert len(rows) == 3


def test_sentences_keep_their_regions(writing: FO1, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    text = "A <ground>cat</ground><objects><region2></objects> near <region1>."
    with answers(monkeypatch, text) as rows:
        outcome = scene.answer(Request(task=Task.ASK, queries=("is <region1> wet?",)))
    assert questions(rows) == ["is <region1> wet?"]
    assert outcome.text == "A cat near region 1."
    assert outcome.detections.regions.tolist() == [2]
    with answers(monkeypatch, text):
        assert scene.ground().groundings[0].phrase == "cat"
    with answers(monkeypatch, "<ground>cat</ground><objects><region0><region2></objects>"):
        assert scene.similar(0).regions.tolist() == [2]


# No regions, too many regions, regions that do not exist.


def test_without_boxes_one_can_ask_and_finds_nothing(scoring: FO1) -> None:
    scene = scoring.encode(tiny.picture(*SIZE), [])
    assert isinstance(scene.ask("what is this?").text, str)
    assert len(scene.detect(["cat"])) == len(scene.refer("cat")) == scene.count("cat").count == 0
    assert scene.describe() == ()
    assert scene.answer(Request(task=Task.DETECT, queries=("cat",))).problems
    with pytest.raises(QueryError, match="no regions"):
        scene.similar(0)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda scene: scene.detect([]), "needs a query"),
        (lambda scene: scene.detect(["cat", " "]), "empty"),
        (lambda scene: scene.detect([3]), "need a string"),
        (lambda scene: scene.refer(None), "need a string"),
        (lambda scene: scene.describe([11]), "region 11 does not exist"),
        (lambda scene: scene.describe([0.5]), "whole numbers"),
        (lambda scene: scene.describe([0], detail="long"), "brief"),
        (lambda scene: scene.describe(), "11 regions"),
        (lambda scene: scene.similar(-1), "negative"),
        (lambda scene: scene.ask("is <region99> wet?"), "region 99 does not exist"),
        (lambda scene: scene.ask(" "), "empty"),
        (lambda scene: scene.detect(["cat", "x" * 5000]), "query has 5,000 characters; give at mo"),
        (lambda scene: scene.scores("x" * 1001), "at most 1,000"),
        (lambda scene: scene.ask("x" * 10_001), "question has 10,001 characters; give at most 10"),
    ],
)
def test_unusable_questions(scoring: FO1, ask: Any, words: str) -> None:
    with pytest.raises(QueryError, match=words) as caught:
        ask(scene_of(scoring, 11))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5"])
def test_unusable_thresholds(scoring: FO1, threshold: Any) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        scene_of(scoring).detect("cat", threshold=threshold)


# Pictures: one, many, of every kind.


def test_one_picture_or_several(scoring: FO1, tmp_path: Path) -> None:
    pictures = [tiny.picture(*SIZE), tiny.picture(84, 196, seed=1), tiny.picture(64, 64, seed=2)]
    pictures[0].save(tmp_path / "ein Bild \u00fc.png")
    sources = [tmp_path / "ein Bild \u00fc.png", np.asarray(pictures[1]), pictures[2].convert("L")]
    boxes = [tiny.boxes(count, 60, 60, seed=count) for count in (3, 0, 5)]
    single = [
        scoring.detect(source, ["cat", "dog"], threshold=0.0, boxes=own)
        for source, own in zip(sources, boxes, strict=True)
    ]
    assert [len(found) for found in single] == [6, 0, 10]
    assert [found.image_size for found in single] == [(112, 140), (196, 84), (64, 64)]
    for size in (1, 2, 3):
        several = scoring.detect(
            iter(sources), ["cat", "dog"], threshold=0.0, boxes=boxes, batch_size=size
        )
        for one, other in zip(single, several, strict=True):
            assert_same(one, other)
    assert scoring.count([], "cat") == []
    assert [type(answer).__name__ for answer in scoring.ask(sources[:1], "what?", boxes=[[]])] == [
        "Answer"
    ]
    with pytest.raises(BoxError, match="boxes for 2 pictures, but 3"):
        scoring.detect(sources, "cat", boxes=boxes[:2])
    with pytest.raises(InputError, match="batch_size is 0"):
        scoring.detect(sources, "cat", batch_size=0)
    with pytest.raises(ImageError, match="does not exist"):
        scoring.detect([tmp_path / "none.png"], "cat")
    with pytest.raises(ImageError, match="from NoneType"):
        scoring.detect(None, "cat")


def test_pictures_of_a_generator_are_taken_as_they_are_needed(scoring: FO1, monkeypatch) -> None:
    taken, encoded = [0], []
    real = FO1.encode

    def pictures() -> Iterator[Image.Image]:
        for number in range(5):
            taken[0] += 1
            yield tiny.picture(*SIZE, seed=number)

    def spy(self: FO1, *args: Any, **options: Any) -> Scene:
        encoded.append(taken[0])
        return real(self, *args, **options)

    monkeypatch.setattr(FO1, "encode", spy)
    assert len(scoring.detect(pictures(), "cat", batch_size=2, limit=1)) == 5
    assert encoded == [2, 2, 4, 4, 5]


def test_every_verb_takes_pictures(seeing: FO1) -> None:
    picture, options = tiny.picture(*SIZE), {"limit": 2}
    assert seeing.refer(picture, "cat", 0.0, **options).labels == ("cat",)
    assert seeing.count(picture, "cat", 0.0, **options).count in (1, 2)
    assert len(seeing.describe(picture, **options)) == len(seeing.read([picture], **options)[0])
    assert seeing.ground(picture, **options).text == seeing.ground([picture], **options)[0].text
    assert seeing.similar(picture, 1, **options).image_size == (112, 140)


ASK = {
    "detect": lambda asked, *scene: asked.detect(*scene, ["cat", "dog"], 0.0),
    "refer": lambda asked, *scene: asked.refer(*scene, "cat", 0.0),
    "count": lambda asked, *scene: asked.count(*scene, "cat", 0.0),
    "describe": lambda asked, *scene: asked.describe(*scene, [0, 2]),
    "read": lambda asked, *scene: asked.read(*scene, [1]),
    "ground": lambda asked, *scene: asked.ground(*scene),
    "similar": lambda asked, *scene: asked.similar(*scene, 1),
    "ask": lambda asked, *scene: asked.ask(*scene, "why is <region1> wet?"),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_scene_is_asked_about_its_own_regions(scoring: FO1, monkeypatch, ask: Any) -> None:
    scenes = [scene_of(scoring), scene_of(scoring, 4, seed=1)]
    expected = [ask(scene) for scene in scenes]

    def encode(*_: Any, **__: Any) -> None:
        raise AssertionError("the scenes are encoded")

    monkeypatch.setattr(FO1, "encode", encode)
    assert repr(ask(scoring, scenes[0])) == repr(expected[0])
    assert repr(ask(scoring, scenes)) == repr(expected)


def test_a_scene_gets_the_regions_that_a_verb_is_given(scoring: FO1) -> None:
    scene, others = scene_of(scoring), tiny.boxes(5, *SIZE, seed=3)
    assert len(scoring.detect(scene, "cat", 0.0, boxes=others)) == 5
    found = scoring.detect([scene, scene], "cat", 0.0, boxes=[others, None], batch_size=2)
    assert [len(one) for one in found] == [5, 3]
    assert [said.region for said in scoring.read(scene, [50], proposer="grid")] == [50]
    assert len(scoring.read(scene, limit=2)) == 2
    other = front(scoring.engine.model)
    with pytest.raises(InputError, match="encode the picture again"):
        other.detect(scene, "cat")


@pytest.mark.parametrize("size", ["8", 1.5, None, 0, -1])
def test_unusable_batch_sizes(scoring: FO1, size: Any) -> None:
    for images in (tiny.picture(*SIZE), [tiny.picture(*SIZE)], []):
        with pytest.raises(InputError, match=f"batch_size is {size!r}; give a whole number"):
            scoring.detect(images, "cat", boxes=[], batch_size=size)


def test_unknown_options(scoring: FO1) -> None:
    for images in (tiny.picture(*SIZE), [tiny.picture(*SIZE)], []):
        ask: Any = scoring.count
        told = r"count\(\) has no option 'batchsize'; its options are boxes, proposer, limit, batch_size"
        with pytest.raises(TypeError, match=told):
            ask(images, "cat", batchsize=8)


# Boxes that nobody gave.


def test_proposals(scoring: FO1) -> None:
    picture = tiny.picture(*SIZE)
    scene = scoring.encode(picture, limit=7)
    assert (len(scene), scene.proposer) == (7, "grid")
    assert scoring.propose(picture, limit=7) == Proposals(
        scene.regions, scene.proposal_scores, "grid"
    )

    class Mine:
        name = "mine"

        def propose(self, image: Image.Image) -> Proposals:
            return Proposals([[0, 0, *image.size]], [0.5])

    assert scoring.encode(picture, proposer=Mine()).proposer == "mine"
    with pytest.raises(InputError, match="unknown proposer 'foo'; choose one of: nanodet"):
        scoring.encode(picture, proposer="foo")
    for limit in (0, "3", 1.5):
        with pytest.raises(InputError, match=f"limit is {limit!r}"):
            scoring.encode(picture, limit=limit)
    assert scoring.encode(picture, limit=np.int64(3)).regions.shape == (3, 4)
    with pytest.raises(InputError, match="limit is '3'"):
        scoring.get_proposer("grid", limit="3")
    with pytest.raises(InputError, match="boxes and a proposer"):
        scoring.encode(picture, [], proposer="grid")


class Nameless:
    def propose(self, image: Image.Image) -> list[object]:
        return []


class Wordless:
    name = "wordless"


class Careless(Nameless, Wordless):
    pass


@pytest.mark.parametrize("proposer", [3, Nameless(), Wordless(), Careless, ["grid"]])
def test_unusable_proposers(scoring: FO1, proposer: Any) -> None:
    picture, told = tiny.picture(*SIZE), r"proposer is .*; give a name .* a method propose\(image\)"
    for use in (
        lambda: scoring.detect([picture, picture], "cat", proposer=proposer, batch_size=2),
        lambda: scoring.propose(picture, proposer=proposer),
        lambda: FO1.from_pretrained("nowhere", proposer=proposer),
        lambda: FO1(scoring.engine, Path("nowhere"), proposer=proposer),
    ):
        with pytest.raises(InputError, match=told) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_proposer_that_gives_something_else(scoring: FO1) -> None:
    with pytest.raises(InputError, match="'wordless' gave a list; have it return Proposals"):
        scoring.propose(tiny.picture(*SIZE), proposer=Careless())


def test_a_model_that_sees_with_the_detector_proposes_with_it(seeing: FO1, tmp_path: Path) -> None:
    own = seeing.engine.model.region_encoder.auxiliary.detector
    loaded = FO1(seeing.engine, tmp_path)
    proposer = loaded.get_proposer()
    assert (proposer.name, proposer.model) == ("nanodet", own)
    assert loaded.get_proposer("nanodet") is proposer
    (tmp_path / "ssd.safetensors").write_bytes(b"")
    assert FO1(seeing.engine, tmp_path)._proposers.default == "nanodet+ssd"
    seeing.engine.model.save_pretrained(tmp_path)
    alone = get_proposer("nanodet", weights=tmp_path)
    picture = tiny.picture(*SIZE)
    assert alone.propose(picture) == proposer.propose(picture)


def test_proposals_called_given_are_still_proposals(scoring: FO1, monkeypatch) -> None:
    scene = scoring.encode(tiny.picture(*SIZE), Proposals(FAR, [0.25, 0.81, 0.64], "given"))
    assert scene.proposed
    with probabilities(monkeypatch, [[0.9], [0.1], [0.9]]):
        found = scene.detect("cat", threshold=0.2)
    assert found.regions.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, np.sqrt([0.9 * 0.64, 0.1 * 0.81]), rtol=1e-5)


def test_a_detector_is_loaded_once(seeing: FO1, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ssd.safetensors").write_bytes(b"")
    made: list[SSDProposer] = []

    def load(*_: Any) -> SSDProposer:
        made.append(SSDProposer(SSDMobileNetV2()))
        return made[-1]

    monkeypatch.setattr("fo1.pipeline.proposers.SSDProposer.load", load)
    model = FO1(seeing.engine, tmp_path)
    parts = model.get_proposer("nanodet+ssd").proposers
    assert parts == (model.get_proposer("nanodet"), model.get_proposer("ssd"))
    wide = model.get_proposer("ssd", limit=250)
    assert (wide.limit, wide.model is made[0].model) == (250, True)
    assert len(made) == 1


# Loading.


@pytest.fixture(scope="module")
def folder(scoring: FO1, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    scoring.engine.model.save_pretrained(path)
    scoring.engine.processor.save_pretrained(path)
    return path


def test_a_folder_in_our_layout(folder: Path, scoring: FO1) -> None:
    loaded = FO1.from_pretrained(folder, proposer="grid")
    assert loaded.name == str(folder)
    assert loaded.device.type == "cpu"
    assert loaded.engine.model.dtype == torch.float32
    assert not loaded.engine.model.training
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(3, *SIZE)
    names = ["cat", "dog"]
    assert_same(
        loaded.detect(picture, names, 0.0, boxes=boxes),
        scoring.detect(picture, names, 0.0, boxes=boxes),
    )


def test_half_precision_spares_what_decides_scores(seeing: FO1, tmp_path: Path) -> None:
    seeing.engine.model.save_pretrained(tmp_path)
    seeing.engine.processor.save_pretrained(tmp_path)
    low = FO1.from_pretrained(tmp_path, dtype=torch.bfloat16, proposer="grid")
    model = low.engine.model
    exact = {*model.score_head.parameters(), *model.region_encoder.auxiliary.parameters()}
    encoder = model.region_encoder.auxiliary
    exact |= {encoder.feature_mean, encoder.feature_std}
    assert {value.dtype for value in exact} == {torch.float32}
    others = {p.dtype for p in model.parameters() if p not in exact}
    assert (model.dtype, others) == (torch.bfloat16, {torch.bfloat16})
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(3, *SIZE)
    assert low.propose(picture, proposer="nanodet") == seeing.propose(picture, proposer="nanodet")
    found = low.detect(picture, ["cat", "dog"], 0.0, boxes=boxes)
    assert found.scores.dtype == np.float32
    assert len(found) == 6
    assert low.ask(picture, "what is <region1>?", boxes=boxes).text


@pytest.mark.parametrize("place", ["cpu", "auto", {"": "cpu"}])
def test_a_device_map(folder: Path, scoring: FO1, place: Any) -> None:
    pytest.importorskip("accelerate")
    loaded = FO1.from_pretrained(folder, device_map=place, proposer="grid")
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(3, *SIZE)
    assert_same(
        loaded.detect(picture, ["cat", "dog"], 0.0, boxes=boxes),
        scoring.detect(picture, ["cat", "dog"], 0.0, boxes=boxes),
    )
    with pytest.raises(InputError, match="got device and device_map"):
        FO1.from_pretrained(folder, device="cpu", device_map=place)


def test_a_folder_in_the_published_layout() -> None:
    loaded = FO1.from_pretrained(str(PUBLISHED), dtype=torch.float32, proposer="grid")
    assert not loaded.engine.has_score_head
    answer = loaded.encode(tiny.picture(*SIZE), tiny.boxes(2, *SIZE)).ask("what is <region1>?")
    assert answer.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nanoo", "unknown model 'nanoo'; give 'nano', a folder"),
        ("./nowhere/at/all", "unknown model"),
        (Path("nowhere/all"), "unknown model"),
        ("{empty}", "holds no config.json"),
        ("{file}", "is a file"),
        ("{other}", "model_type .bert."),
        ("{cut}", "cannot load|missing"),
    ],
)
def test_unusable_models(name: Any, words: str, tmp_path: Path, folder: Path) -> None:
    places = {kind: tmp_path / kind for kind in ("empty", "other", "cut")}
    for place in places.values():
        place.mkdir()
    (places["other"] / "config.json").write_text('{"model_type": "bert"}')
    (places["cut"] / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "file").touch()
    if isinstance(name, str):
        name = name.format(file=tmp_path / "file", **places)
    with pytest.raises(CheckpointError, match=words) as caught:
        FO1.from_pretrained(name, proposer="grid")
    assert "\n" not in str(caught.value)


def test_unknown_proposers_and_devices_are_found_before_loading() -> None:
    with pytest.raises(InputError, match="unknown proposer"):
        FO1.from_pretrained("nowhere", proposer="foo")
    with pytest.raises(InputError, match="device 'abacus'"):
        FO1.from_pretrained("nowhere", device="abacus")


def test_a_checkpoint_is_not_blamed_for_how_it_is_loaded(folder: Path) -> None:
    with pytest.raises(InputError, match=r"dtype is torch\.int8; give"):
        FO1.from_pretrained(folder, dtype=torch.int8)
    pytest.importorskip("accelerate")
    with pytest.raises(InputError, match="device 'nonsense' cannot be used"):
        FO1.from_pretrained(folder, device_map="nonsense")


def test_a_tokenizer_with_too_few_region_tokens(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "num_region_tokens": 201}))
    with pytest.raises(CheckpointError, match="counts 201 region tokens, the tokenizer has 200"):
        FO1.from_pretrained(tmp_path / "m", proposer="grid")


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    FO1.from_pretrained(folder, proposer="grid")
    assert capfd.readouterr() == ("", "")


def test_every_region_asked_about_gets_a_text(writing: FO1, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), FAR)
    with answers(monkeypatch, "STOP", ""):
        outcome = scene.answer(Request(task=Task.READ, regions=(2, 0)))
    assert [(item.region, item.text) for item in outcome.texts] == [(2, "STOP"), (0, "")]
    assert outcome.problems == ("no text for region 0",)
    nothing = writing.encode(tiny.picture(*SIZE), [])
    assert nothing.answer(Request(task=Task.READ)).problems
