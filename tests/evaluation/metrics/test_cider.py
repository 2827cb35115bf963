"""CIDEr-D against figures of the COCO caption scorer, and its Java parts where they are installed."""

import random
import shutil

import numpy as np
import pytest

from fo1.evaluation.metrics import coco_caption
from fo1.evaluation.metrics.captions import CaptionScorer
from fo1.evaluation.metrics.cider import CiderD
from fo1.evaluation.metrics.coco_caption import Missing
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.text import tokens

REFERENCES = [
    ["a man in a red shirt", "man wearing a red shirt and a hat"],
    ["a brown dog on the grass", "the dog in front of the man", "dog"],
    ["white cup on the table"],
    ["the left cup of the two cups on the table"],
]
CAPTIONS = [
    "a man in a red red shirt",
    "a dog on the grass",
    "white cup",
    "a person standing next to a white building and a red car on the left",
]
# Cider().compute_score of pycocoevalcap 1.2 on the same
CIDER = 2.805429215973522
EACH = [4.577664788359116, 2.7406890532918697, 3.4155214624752137, 0.4878415597678886]
# Meteor().compute_score of pycocoevalcap 1.2 (METEOR 1.5, OpenJDK 17) on the same
METEOR = 0.29014585333034354
METEOR_EACH = [0.4996193377772159, 0.3899751238121113, 0.2796115094764832, 0.11196372258420137]


def test_meteor_of_all_with_the_spread_of_the_single_ones(monkeypatch) -> None:
    """METEOR adds up its counts, so its figure is not the mean; Java is stood in for here."""
    module = "fo1.evaluation.metrics.captions"
    monkeypatch.setattr(f"{module}.ptb_tokens", lambda lines: [tuple(s.split()) for s in lines])
    monkeypatch.setattr(f"{module}.meteor", lambda captions, references: [0.2, 0.6, 0.5])
    scorer = CaptionScorer([["a cup"], ["a dog"]], np.array([0, 1]))
    captions = scorer.tokens(["cup", "dog"])
    values = scorer.meteor(captions, np.array([[1.0, 1], [2, 0], [0, 2]]))
    assert values == pytest.approx([0.5, 0.5 - 0.2, 0.5 + 0.2])
    assert scorer.notes == ()


def test_one_reference_at_a_time_follows_the_pictures(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    references = [["a red cup on a table", "red cup"], ["a brown dog"]]
    scorer = CaptionScorer(references, np.array([0, 1]))
    captions = scorer.tokens(["red cup", "brown dog"])
    values = scorer.cider_apart(captions, np.array([[1.0, 1], [2, 0], [0, 2]]))
    apart = CiderD([split([one]) for item in references for one in item])
    each = 100 * apart.scores(split(["red cup", "red cup", "brown dog"]))
    assert values == pytest.approx([each.mean(), each[:2].mean(), each[2]])


def split(sentences: list[str]) -> list[list[str]]:
    return [sentence.split() for sentence in sentences]


def test_the_figures_of_the_coco_caption_scorer_are_met() -> None:
    scores = CiderD([split(item) for item in REFERENCES]).scores(split(CAPTIONS))
    assert scores == pytest.approx(EACH, abs=1e-12)
    assert scores.mean() == pytest.approx(CIDER, abs=1e-12)


def test_by_hand() -> None:
    # "a" is in both items and weighs nothing; "red" and "cup" are in one and weigh log 2 each.
    cider = CiderD([split(["a red cup"]), split(["a dog"])])
    # All runs of 1, 2 and 3 words are the same, there are none of 4: 10 * 3 / 4.
    assert cider.scores(split(["a red cup", "a"])) == pytest.approx([7.5, 0])
    # One of two words that weigh: 10 * (1 / sqrt 2) / 4; one run of two words less: exp(-1 / 72).
    assert cider.scores(split(["cup a", ""]))[0] == pytest.approx(
        10 * 2**-0.5 / 4 * np.exp(-1 / 72)
    )


def test_a_perfect_caption_scores_10_and_silence_nothing() -> None:
    references = [split(["the big red cup on the left"]), split(["a dog that runs in the park"])]
    cider = CiderD(references)
    assert cider.scores([item[0] for item in references]) == pytest.approx([10, 10])
    assert cider.scores([[], []]).tolist() == [0, 0]
    assert cider.scores([["the"] * 20_000, []])[0] == pytest.approx(0)


def test_one_item_alone_has_no_rare_words() -> None:
    assert CiderD([split(["a cup"])]).scores(split(["a cup"])) == [0]
    assert len(CiderD([]).scores([])) == 0


def test_captions_and_items_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        CiderD([split(["a cup"]), split(["a dog"])]).scores([["a"]])


def test_pycocoevalcap_agrees_on_random_sentences() -> None:
    scorer = pytest.importorskip("pycocoevalcap.cider.cider")
    drawn = random.Random(0)
    vocabulary = ["a", "the", "man", "woman", "red", "dog", "in", "on", "big", "cup", "of", "table"]

    def sentence() -> str:
        return " ".join(drawn.choices(vocabulary, k=drawn.randint(0, 9)))

    for _ in range(20):
        count = drawn.randint(1, 12)
        references = [[sentence() for _ in range(drawn.randint(1, 4))] for _ in range(count)]
        captions = [sentence() for _ in range(count)]
        _, expected = scorer.Cider().compute_score(
            dict(enumerate(references)), {at: [caption] for at, caption in enumerate(captions)}
        )
        found = CiderD([split(item) for item in references]).scores(split(captions))
        assert found == pytest.approx(expected, abs=1e-12)


def test_resamples_keep_the_document_frequencies(monkeypatch) -> None:
    without_java(monkeypatch)
    scorer = CaptionScorer(REFERENCES, np.array([0, 0, 1, 2]))
    captions = scorer.tokens(CAPTIONS)
    values = scorer.cider(captions, np.array([[1.0, 1, 1], [1, 0, 0], [0, 2, 1]]))
    means = [np.mean(EACH), np.mean(EACH[:2]), (2 * EACH[2] + EACH[3]) / 3]
    assert values == pytest.approx(100 * np.array(means))


def test_each_reference_as_an_item_of_its_own(monkeypatch) -> None:
    without_java(monkeypatch)
    scorer = CaptionScorer(REFERENCES, np.array([0, 0, 1, 2]))
    apart = CiderD([split([one]) for item in REFERENCES for one in item])
    repeated = [CAPTIONS[at] for at in (0, 0, 1, 1, 1, 2, 3)]
    expected = 100 * apart.scores(split(repeated)).mean()
    found = scorer.cider_apart(scorer.tokens(CAPTIONS), np.ones((1, 3)))
    assert found == pytest.approx([expected])


def test_people_are_scored_by_their_other_references(monkeypatch) -> None:
    without_java(monkeypatch)
    weights = np.ones((1, 3))
    others = CaptionScorer(REFERENCES, np.array([0, 0, 1, 2])).others(weights)
    cider = CiderD([split(REFERENCES[0][1:]), split(REFERENCES[1][1:])])
    expected = cider.scores(split([REFERENCES[0][0], REFERENCES[1][0]])).mean()
    assert others == pytest.approx([100 * expected])
    assert np.isnan(CaptionScorer([["a cup"]], np.array([0])).others(np.ones((1, 1)))).all()


def without_java(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.parametrize("broken", ["no java", "no package", "crash", "nonsense"])
def test_what_is_missing_is_noted_and_never_raised(broken, monkeypatch, tmp_path) -> None:
    package = tmp_path / "pycocoevalcap"
    for jar in (coco_caption.TOKENIZER, coco_caption.METEOR):
        (package / jar).parent.mkdir(parents=True)
        (package / jar).touch()
    (package / "__init__.py").touch()
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n" + ("exit 3\n" if broken == "crash" else "echo what\n"))
    java.chmod(0o755)
    if broken != "no package":
        monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "pycocoevalcap", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if broken == "no java" else str(java))
    if broken == "no package":
        monkeypatch.setattr(coco_caption, "find_spec", lambda name: None)
    with pytest.raises(Missing):
        coco_caption.ptb_tokens(["a cup", "a dog"])
    with pytest.raises(Missing):
        coco_caption.meteor([("a", "cup")], [[("a", "cup")]])
    scorer = CaptionScorer(REFERENCES, np.arange(4))
    captions = scorer.tokens(CAPTIONS)
    assert captions == [tokens(caption) for caption in CAPTIONS]
    assert np.isnan(scorer.meteor(captions, resampling(4, 3))).all()
    assert len(scorer.notes) == 1
    assert "own tokenizer" in scorer.notes[0]


def needs_java() -> None:
    pytest.importorskip("pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("no java")


def test_the_penn_treebank_tokenizer_where_it_is_installed() -> None:
    needs_java()
    sentences = ["The man's\nred t-shirt, isn't it?", "", "café \u2028 (naïve)", "w " * 20_000]
    found = coco_caption.ptb_tokens(sentences)
    assert [" ".join(each) for each in found[:3]] == [
        "the man 's red t-shirt is n't it",
        "",
        "café -lrb- naïve -rrb-",
    ]
    assert found == [tokens(sentence) for sentence in sentences]


def test_meteor_where_it_is_installed() -> None:
    needs_java()
    scorer = CaptionScorer(REFERENCES, np.arange(4))
    weights = resampling(4, 5)
    values = scorer.meteor(scorer.tokens(CAPTIONS), weights)
    assert values[0] == pytest.approx(METEOR, abs=1e-6)
    spread = weights @ METEOR_EACH / 4 - np.mean(METEOR_EACH)
    assert values - values[0] == pytest.approx(spread, abs=1e-6)
    assert scorer.notes == ()
