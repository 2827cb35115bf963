"""Detectors of transformers as proposers, on tiny random ones of every kind."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fo1.errors import CheckpointError, InputError, QueryError
from fo1.geometry import box_iou, clip_boxes
from fo1.proposals import get_proposer, prompted
from fo1.proposals.detector_pixels import load_pixels
from fo1.proposals.transformers_detector import (
    ANYTHING,
    ClassProposer,
    PromptedProposer,
    load_detector,
)
from tests import tiny
from tests.tiny_detectors import CLASSES, NAMES, PROMPTED, save_detector

SIZE = (96, 128)
PICTURE = tiny.picture(SIZE[1], SIZE[0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: save_detector(tmp_path_factory.mktemp(name), name) for name in (*CLASSES, *PROMPTED)
    }


@pytest.mark.parametrize("name", [*CLASSES, *PROMPTED])
def test_every_kind_runs_from_its_folder(folders, name: str) -> None:
    proposer = get_proposer(str(folders[name]), limit=5)
    found = proposer.propose(PICTURE)
    assert 1 <= len(found) <= 5
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] > 0
    np.testing.assert_array_equal(found.boxes, clip_boxes(found.boxes, SIZE))
    assert found.labels is not None
    assert set(found.labels) <= set(ANYTHING if name in PROMPTED else NAMES.values())
    assert found.source == str(folders[name])
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize("name", ["rt_detr", "rt_detr_v2", "d_fine", "detr", "rf_detr"])
def test_boxes_scores_and_classes_are_those_of_the_library(folders, name: str) -> None:
    """Its own post-processing is the oracle: the best box of each class, where it has one."""
    proposer = load_detector(folders[name], limit=300)
    assert isinstance(proposer, ClassProposer)
    with torch.inference_mode():
        outputs = proposer.model(pixel_values=proposer.pixels(PICTURE)["pixel_values"])
    _, oracle = CLASSES["rt_detr" if name == "rf_detr" else name]
    (expected,) = oracle().post_process_object_detection(
        outputs, threshold=0.0, target_sizes=[SIZE]
    )
    best = int(expected["scores"].argmax())
    found = proposer.propose(PICTURE)
    assert found.scores[0] == pytest.approx(float(expected["scores"][best]), abs=1e-5)
    assert found.labels[0] == NAMES[int(expected["labels"][best])]
    box = clip_boxes(expected["boxes"][best : best + 1].numpy(), SIZE)
    np.testing.assert_allclose(found.boxes[:1], box, atol=1e-2)


def test_short_texts_give_the_boxes_scores_and_names_of_the_library(folders) -> None:
    proposer = load_detector(folders["owlv2"]).prompted(["cat", "red cup"])
    with torch.inference_mode():
        pixels = proposer.pixels(PICTURE)["pixel_values"]
        outputs = proposer.model(pixel_values=pixels, **proposer.prompt.inputs(proposer.names))
    (expected,) = PROMPTED["owlv2"][1]().post_process_object_detection(
        outputs, threshold=0.0, target_sizes=[SIZE]
    )
    best = int(expected["scores"].argmax())
    found = proposer.propose(PICTURE)
    assert found.scores[0] == pytest.approx(float(expected["scores"][best]), abs=1e-5)
    assert found.labels[0] == proposer.names[int(expected["labels"][best])]
    box = clip_boxes(expected["boxes"][best : best + 1].numpy(), SIZE)
    np.testing.assert_allclose(found.boxes[:1], box, atol=1e-2)


@pytest.mark.parametrize("name", ["grounding-dino", "mm-grounding-dino"])
def test_a_name_in_a_joined_text_is_as_likely_as_its_best_token(folders, name: str) -> None:
    proposer = load_detector(folders[name]).prompted(["cat", "red cup"])
    with torch.inference_mode():
        pixels = proposer.pixels(PICTURE)["pixel_values"]
        outputs = proposer.model(pixel_values=pixels, **proposer.prompt.inputs(proposer.names))
        boxes, chances = proposer.prompt.read(outputs, proposer.names)
    tokens = outputs.logits[0].sigmoid()  # [CLS] cat . red cup . [SEP]
    torch.testing.assert_close(chances[:, 0], tokens[:, 1])
    torch.testing.assert_close(chances[:, 1], tokens[:, 3:5].amax(1))
    assert torch.equal(boxes, outputs.pred_boxes[0])


@pytest.mark.parametrize("name", PROMPTED)
def test_words_change_what_is_found(folders, name: str) -> None:
    anything = load_detector(folders[name])
    assert isinstance(anything, PromptedProposer)
    cat, dog = (prompted(anything, [word]).propose(PICTURE) for word in ("cat", "dog"))
    assert set(cat.labels) == {"cat"}
    assert set(dog.labels) == {"dog"}
    assert cat.scores[0] != dog.scores[0]
    assert anything.names == ANYTHING  # the proposer itself is as before
    assert prompted(anything, ["cat"]).propose(PICTURE) == cat
    assert prompted(anything, ()) is anything


def test_a_detector_with_classes_takes_no_words(folders) -> None:
    proposer = load_detector(folders["rt_detr"])
    assert prompted(proposer, ["cat"]) is proposer


def test_a_square_detector_stays_inside_the_picture(folders) -> None:
    """OWLv2 sees a square, of which a wide picture fills the upper part."""
    wide = tiny.picture(160, 40)
    proposer = load_detector(folders["owlv2"])
    with torch.inference_mode():
        outputs = proposer.model(
            pixel_values=proposer.pixels(wide)["pixel_values"], **proposer.prompt.inputs(["object"])
        )
    x, y, width, height = (outputs.pred_boxes[0] * 160).numpy().T
    everything = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    clipped = clip_boxes(everything.astype(np.float32), (40, 160))
    found = proposer.propose(wide)
    assert (box_iou(found.boxes, clipped).max(1) > 0.99).all()


def test_pixels_without_antialiasing_are_interpolated_plainly(folders) -> None:
    """Against each pixel as the mean of its four neighbours, at half size."""
    picture = tiny.picture(112, 112)
    pixels = load_pixels(str(folders["rf_detr"]))(picture)["pixel_values"][0]
    rows = np.asarray(picture, np.float32) / 255
    half = rows.reshape(56, 2, 56, 2, 3).mean((1, 3))
    expected = (half - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels.permute(1, 2, 0).numpy(), expected, atol=1e-4)


def test_half_precision(folders) -> None:
    full = load_detector(folders["detr"]).propose(PICTURE)
    low = load_detector(folders["detr"], dtype=torch.bfloat16).propose(PICTURE)
    assert low.scores[0] == pytest.approx(float(full.scores[0]), abs=0.05)


def test_too_many_or_no_names(folders) -> None:
    proposer = load_detector(folders["grounding-dino"])
    with pytest.raises(QueryError, match="no names to look for"):
        proposer.prompted([])
    with pytest.raises(InputError, match="13 names are 28 tokens, this detector reads 24; ask for"):
        proposer.prompted([f"cat{n}" for n in range(13)]).propose(PICTURE)


def test_what_is_no_detector_is_told(folders, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config.json; give a folder with a detector"):
        get_proposer(str(tmp_path))
    with pytest.raises(InputError, match=r"unknown proposer 'yolo.pt'; choose one of: .* hub id"):
        get_proposer("yolo.pt")
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="model_type 'bert', which is no detector"):
        get_proposer(str(tmp_path))
    file.write_text((folders["detr"] / "config.json").read_text())
    with pytest.raises(
        CheckpointError, match=r"cannot load the detector .*; give a folder"
    ) as told:
        get_proposer(str(tmp_path))
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="limit is 0"):
        load_detector(folders["detr"], 0)


def test_a_backbone_of_another_package_is_told(folders, tmp_path: Path) -> None:
    config = json.loads((folders["detr"] / "config.json").read_text())
    config["backbone_config"] = {"model_type": "timm_backbone", "backbone": "resnet50"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in folders["detr"].iterdir():
        if file.name != "config.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="needs timm, which is not installed; run: pip inst"):
        load_detector(tmp_path)


def test_a_picture_processor_without_a_fixed_size_is_told(folders, tmp_path: Path) -> None:
    for file in folders["rf_detr"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "size": {"shortest_edge": 56, "longest_edge": 99}}))
    with pytest.raises(CheckpointError, match="only a fixed height and width"):
        load_detector(tmp_path)


def test_a_tiny_picture_and_a_grey_one(folders) -> None:
    proposer = load_detector(folders["rt_detr"])
    assert len(proposer.propose(Image.new("RGB", (3, 2)))) >= 1
    grey = PICTURE.convert("L")
    assert proposer.propose(grey) == proposer.propose(grey.convert("RGB"))
