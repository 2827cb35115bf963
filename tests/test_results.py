import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fo1.errors import BoxError, InputError, MissingExtraError
from fo1.results import Answer, Detections, Grounding, Proposals

SIZE = (100, 200)


def three() -> Detections:
    return Detections(
        boxes=np.array([[0, 0, 10, 10], [5, 5, 20, 20.128], [1, 2, 3, 4]]),
        labels=("cat", "cup", "cat"),
        scores=np.array([0.9, 0.2, 0.123456]),
        regions=np.array([3, 0, 7]),
        image_size=SIZE,
    )


def test_fields_have_fixed_types_whatever_is_given() -> None:
    found = Detections([[0, 0, 1, 1]], ["cat"], [1], [2], (100, 200))  # type: ignore[arg-type]
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert found.regions.dtype == np.int64
    assert found.labels == ("cat",)


def test_arrays_are_copied_in() -> None:
    boxes = np.zeros((1, 4), np.float32)
    found = Detections(boxes, ("a",), np.ones(1, np.float32), np.zeros(1, np.int64), SIZE)
    boxes[:] = 9
    assert found.boxes.max() == 0


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"boxes": [[0, 0, 1]]}, BoxError, "(1, 3)"),
        ({"labels": ("a", "b")}, InputError, "1 boxes but 2 labels"),
        ({"scores": [0.1, 0.2]}, InputError, "1 boxes but 2 scores"),
        ({"scores": [1.5]}, InputError, "score 0 is 1.5"),
        ({"scores": [np.nan]}, InputError, "score 0 is nan"),
        ({"regions": []}, InputError, "1 boxes but 0 region"),
        ({"image_size": (0, 5)}, InputError, "(0, 5)"),
        ({"image_size": (5,)}, InputError, "(5,)"),
    ],
)
def test_mismatches_print_both_numbers(
    change: dict[str, object], kind: type[Exception], words: str
) -> None:
    good = {"boxes": [[0, 0, 1, 1]], "labels": ("a",), "scores": [0.5], "regions": [0]}
    with pytest.raises(kind) as caught:
        Detections(**{"image_size": SIZE, **good, **change})  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_selecting_by_mask_slice_indices_and_int() -> None:
    found = three()
    assert found[found.scores > 0.15].labels == ("cat", "cup")
    assert found[1:].regions.tolist() == [0, 7]
    assert found[np.array([2, 0])].regions.tolist() == [7, 3]
    assert found[[2]].labels == ("cat",)
    assert len(found[[]]) == 0
    one = found[-1]
    assert (one.label, one.region, one.box.tolist()) == ("cat", 7, [1, 2, 3, 4])
    assert [item.label for item in found] == ["cat", "cup", "cat"]
    with pytest.raises(IndexError):
        found[3]


def test_filter_keeps_a_score_equal_to_the_threshold() -> None:
    assert three().filter(0.2).labels == ("cat", "cup")
    assert len(three().filter(0.0)) == 3


def test_merge_and_empty() -> None:
    merged = Detections.merge([three(), Detections.empty(SIZE), three()[:1]])
    assert merged.labels == ("cat", "cup", "cat", "cat")
    assert merged == Detections.merge([three(), three()[:1]])
    with pytest.raises(InputError, match="sizes"):
        Detections.merge([three(), Detections.empty((1, 1))])
    with pytest.raises(InputError, match="sizes"):
        Detections.merge([])


def test_equality_compares_values() -> None:
    assert three() == three()
    assert three() != three()[:2]
    assert three() != "cat"
    with pytest.raises(TypeError):
        hash(three())


def test_rows_are_plain_rounded_json() -> None:
    rows = three().to_dicts()
    assert rows[1] == {"label": "cup", "box": [5.0, 5.0, 20.0, 20.13], "score": 0.2, "region": 0}
    assert rows[2]["score"] == 0.1235
    assert json.loads(json.dumps(rows)) == rows
    assert Detections.empty(SIZE).to_dicts() == []


def told() -> Detections:
    """Three detections of which it is known who said what."""
    return replace(three(), proposal_scores=[0.5, 0.25, 0.75], model_scores=[0.1, 0.2, 0.3])


def test_the_scores_of_proposer_and_model_stand_apart_and_go_along() -> None:
    found = told()
    kept = found[found.scores > 0.15]
    assert kept.scores.tolist() == found.scores[:2].tolist()
    assert kept.proposal_scores.tolist() == [0.5, 0.25]
    assert kept.model_scores.tolist() == pytest.approx([0.1, 0.2])
    assert (found[2].proposal_score, found[2].model_score) == pytest.approx((0.75, 0.3))
    row = found.to_dicts()[1]
    assert (row["score"], row["proposal_score"], row["model_score"]) == (0.2, 0.25, 0.2)
    assert found != three()
    assert found == told()
    assert (three()[0].proposal_score, three().model_scores) == (None, None)


def test_merging_keeps_the_scores_that_all_parts_know() -> None:
    merged = Detections.merge([told(), Detections.empty(SIZE), told()[:1]])
    assert merged.proposal_scores.tolist() == [0.5, 0.25, 0.75, 0.5]
    assert Detections.merge([told(), three()]).proposal_scores is None
    assert Detections.merge([Detections.empty(SIZE)]).model_scores is None


@pytest.mark.parametrize("name", ["proposal_scores", "model_scores"])
def test_known_scores_are_checked_like_others(name: str) -> None:
    with pytest.raises(InputError, match="3 boxes but 1 scores"):
        replace(three(), **{name: [0.5]})
    with pytest.raises(InputError, match="score 1 is 2"):
        replace(three(), **{name: [0.5, 2, 0]})


def test_labels_of_proposals_go_along() -> None:
    some = Proposals(np.eye(3, 4), [0.5, 0.2, 0.1], "file", ["cat", "cup", "dog"])
    assert some.labels == ("cat", "cup", "dog")
    kept = some.select(np.array([2, 0]))
    assert (kept.labels, kept.scores.tolist(), kept.source) == (
        ("dog", "cat"),
        pytest.approx([0.1, 0.5]),
        "file",
    )
    assert some.select(slice(2)).labels == ("cat", "cup")
    assert some != replace(some, labels=None)
    assert replace(some, labels=None).select(slice(1)).labels is None
    with pytest.raises(InputError, match="3 boxes but 1 labels"):
        replace(some, labels=("cat",))


def test_proposals_check_and_compare() -> None:
    some = Proposals(np.array([[0, 0, 1, 1]], np.float32), np.array([0.5], np.float32), "file")
    assert len(some) == 1
    assert some == Proposals(some.boxes, some.scores, "file")
    assert some != Proposals.empty("file")
    with pytest.raises(InputError, match="1 boxes but 0 scores"):
        Proposals(some.boxes, np.zeros(0, np.float32))


def test_answer_lists_its_regions_once() -> None:
    answer = Answer("", "", (Grounding("a", (3, 1)), Grounding("b", ()), Grounding("c", (1, 2))))
    assert answer.regions == (3, 1, 2)


def test_supervision_missing_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fo1\["):
        three().to_supervision()


def test_supervision_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(Detections=lambda **fields: SimpleNamespace(**fields))
    monkeypatch.setitem(sys.modules, "supervision", fake)
    there = told().to_supervision()
    assert there.class_id.tolist() == [0, 1, 0]
    assert there.data["class_name"].tolist() == ["cat", "cup", "cat"]
    assert Detections.from_supervision(there, SIZE) == told()


def test_supervision_without_scores_or_names() -> None:
    bare = SimpleNamespace(xyxy=np.ones((1, 4)), confidence=None, class_id=np.array([4]), data={})
    found = Detections.from_supervision(bare, SIZE)
    assert (found.labels, found.scores.tolist(), found.regions.tolist()) == (("4",), [1.0], [-1])
    bare.class_id = None
    assert Detections.from_supervision(bare, SIZE).labels == ("object",)
