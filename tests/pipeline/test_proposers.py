"""Where the boxes of a scene come from, and what the scene still knows of it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.errors import BoxError, InputError
from fo1.pipeline import FO1
from fo1.pipeline.proposers import ModelProposers
from fo1.proposals import FileProposer
from fo1.results import Proposals
from tests import tiny
from tests.pipeline.conftest import SIZE

PICTURE = tiny.picture(*SIZE)
BOXES = [[0.0, 0.0, 40.0, 40.0], [30.0, 30.0, 80.0, 100.0], [60.0, 5.0, 120.0, 60.0]]


class Wordy:
    """Finds one box per name that it is told, and says so."""

    name = "wordy"

    def __init__(self, names: tuple[str, ...] = ("object",)) -> None:
        self.names = names

    def prompted(self, names: Any) -> "Wordy":
        return Wordy(tuple(names))

    def propose(self, image: Image.Image) -> Proposals:
        count = len(self.names)
        return Proposals(BOXES[:count], [0.9 - 0.1 * n for n in range(count)], "", self.names)


def test_a_function_is_a_proposer_everywhere(scoring: FO1) -> None:
    def mine(image: Image.Image) -> Any:
        assert image.size == SIZE
        return BOXES, [0.5, 0.25, 0.75], ["a", "b", "c"]

    scene = scoring.encode(PICTURE, proposer=mine)
    assert (scene.proposer, scene.proposed) == ("mine", True)
    assert scene.regions.tolist() == BOXES
    assert scene.proposal_scores.tolist() == [0.5, 0.25, 0.75]
    assert scene.proposal_labels == ("a", "b", "c")
    assert scoring.propose(PICTURE, proposer=mine, limit=2).labels == ("a", "b")
    assert len(scoring.detect([PICTURE] * 2, "cat", proposer=mine, batch_size=2)) == 2
    assert FO1(scoring.engine, Path("nowhere"), proposer=mine).encode(PICTURE).proposer == "mine"


def test_labels_follow_the_order_of_regions(scoring: FO1, monkeypatch) -> None:
    monkeypatch.setattr(scoring.engine.model.config, "region_order", "area")
    given = Proposals(BOXES, [0.9, 0.8, 0.7], "test", ("a", "b", "c"))
    scene = scoring.encode(PICTURE, proposer=lambda image: given)
    assert scene.regions.tolist() == [BOXES[1], BOXES[2], BOXES[0]]
    assert scene.proposal_labels == ("b", "c", "a")
    assert scene.proposal_scores.tolist() == pytest.approx([0.8, 0.7, 0.9])


def test_verbs_tell_a_prompted_proposer_what_they_ask_for(scoring: FO1) -> None:
    model = FO1(scoring.engine, Path("nowhere"), proposer=Wordy())
    seen: list[tuple[str, ...] | None] = []

    def spy(self: FO1, *given: Any, **options: Any) -> Any:
        scene = encode(self, *given, **options)
        seen.append(scene.proposal_labels)
        return scene

    encode = FO1.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FO1, "encode", spy)
        model.detect(PICTURE, ["cat", " red  cup"])
        model.count([PICTURE, PICTURE], "dog")
        model.ground(PICTURE)
        scoring.refer(PICTURE, "the dog", proposer=Wordy())
        scene = model.encode(PICTURE, queries=["cat"])
        model.detect(scene, "cup")  # a scene has its regions
        model.detect(scene, "cup", proposer=Wordy())
    expected = [
        ("cat", "red cup"),
        ("dog",),
        ("dog",),
        ("object",),
        ("the dog",),
        ("cat",),
        ("cup",),
    ]
    assert seen == expected


def test_supervision_detections_are_boxes(scoring: FO1) -> None:
    supervision = pytest.importorskip("supervision")
    xyxy = np.array(BOXES, np.float32)
    given = scoring.encode(PICTURE, supervision.Detections(xyxy))
    assert (given.proposed, given.proposer, given.proposal_labels) == (False, "given", None)
    sure = supervision.Detections(
        xyxy, confidence=np.array([0.5, 0.25, 0.75]), data={"class_name": np.array(["a", "b", "c"])}
    )
    scene = scoring.encode(PICTURE, sure)
    assert (scene.proposed, scene.proposal_labels) == (True, ("a", "b", "c"))
    assert scene.proposal_scores.tolist() == [0.5, 0.25, 0.75]
    assert len(scoring.detect([PICTURE], "cat", boxes=[sure])) == 1
    with pytest.raises(BoxError, match="got boxes for 1 pictures, but 2 pictures"):
        scoring.detect([PICTURE] * 2, "cat", boxes=sure)
    with pytest.raises(BoxError, match="outside the picture"):
        scoring.encode(PICTURE, supervision.Detections(xyxy + 500))


def test_detections_tell_what_proposer_and_model_said(scoring: FO1) -> None:
    scene = scoring.encode(PICTURE, Proposals(BOXES, [0.5, 0.25, 0.75]))
    found = scene.detect("cat", threshold=0.0)
    np.testing.assert_allclose(found.proposal_scores, scene.proposal_scores[found.regions])
    np.testing.assert_allclose(found.model_scores, scene.scores("cat")[found.regions, 0], atol=1e-6)
    fused = np.sqrt(found.proposal_scores * found.model_scores)
    np.testing.assert_allclose(found.scores, fused, rtol=1e-5)
    given = scoring.encode(PICTURE, BOXES).detect("cat", threshold=0.0)
    assert given.proposal_scores is None
    assert given.scores.tolist() == given.model_scores.tolist()


def test_a_file_of_many_pictures_is_a_proposer(scoring: FO1, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "7.png")
    file = tmp_path / "results.json"
    file.write_text('[{"image_id": 7, "bbox": [0, 0, 40, 40], "score": 0.5}]')
    scene = scoring.encode(tmp_path / "7.png", proposer=FileProposer(file))
    assert scene.regions.tolist() == [BOXES[0]]
    with pytest.raises(InputError, match="no boxes for a picture without a file name"):
        scoring.encode(PICTURE, proposer=FileProposer(file))


def test_a_detector_of_transformers_by_its_folder(scoring: FO1, tmp_path: Path) -> None:
    from tests.tiny_detectors import save_detector

    folder = str(save_detector(tmp_path, "owlv2"))
    model = FO1(scoring.engine, Path("nowhere"), proposer=folder)
    scene = model.encode(PICTURE, limit=5, queries=["cat", "cup"])
    assert len(scene) <= 5
    assert set(scene.proposal_labels) <= {"cat", "cup"}
    assert scene.proposer == folder
    assert model.get_proposer() is model.get_proposer(folder)
    assert len(model.detect([PICTURE, PICTURE], "cat", batch_size=2)) == 2
    assert "torchvision" not in sys.modules


def test_tiled_detectors_share_weights(seeing: FO1, tmp_path: Path) -> None:
    (tmp_path / "ssd.safetensors").write_bytes(b"")
    proposers = ModelProposers(seeing.engine, Path("nowhere"))
    union, tiles = proposers.get("nanodet+ssd"), proposers.get("tiled")
    assert [part.proposer for part in tiles.proposers] == list(union.proposers)
