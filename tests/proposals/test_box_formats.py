"""Boxes of the formats that tools write, each with its bad rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.proposals import FileProposer

SIZE = (100, 200)
BOX = [20.0, 10.0, 60.0, 50.0]
COCO = {
    "images": [
        {"id": 7, "file_name": "train/a.jpg", "width": 200, "height": 100},
        {"id": 8, "file_name": "b.jpg", "width": 200, "height": 100},
    ],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [20, 10, 40, 40]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 90, 90], "iscrowd": 1},
    ],
}
RESULTS = [
    {"image_id": 139, "bbox": [20, 10, 40, 40], "score": 0.5, "category_id": 1},
    {"image_id": 139, "bbox": [0, 0, 5, 5], "score": 0.25, "category_id": 1},
    {"image_id": "b", "bbox": [1, 1, 5, 5], "score": 1, "category_id": 1},
]
LABELME = {
    "imagePath": "a.jpg",
    "shapes": [
        {"label": "cat", "shape_type": "rectangle", "points": [[60, 50], [20, 10]]},
        {"label": "cup", "shape_type": "polygon", "points": [[1, 2], [9, 2], [5, 8]]},
    ],
}


def save(path: Path, content) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_plain_json_with_scores_and_labels(tmp_path: Path) -> None:
    values = {"boxes": [BOX], "scores": [0.5], "labels": ["cat"]}
    source = FileProposer(save(tmp_path / "boxes.json", values))
    found = source.of("whatever.jpg", SIZE)
    assert (found.boxes.tolist(), found.scores.tolist(), found.labels) == ([BOX], [0.5], ("cat",))
    assert source.scored
    plain = FileProposer(save(tmp_path / "plain.json", {"boxes": [BOX, BOX]}))
    assert (plain.scored, plain.most, plain.of("", SIZE).labels) == (False, 2, None)


def test_coco_annotations_by_file_name(tmp_path: Path) -> None:
    source = FileProposer(save(tmp_path / "coco.json", COCO))
    for name in ("train/a.jpg", "a.jpg", "/elsewhere/a.jpg", "C:\\pictures\\a.jpg"):
        found = source.of(name, SIZE)
        assert (found.boxes.tolist(), found.labels) == ([BOX], ("cat",))
    assert len(source.of("b.jpg", SIZE)) == 0
    assert (source.scored, source.most) == (False, 1)
    with pytest.raises(InputError, match=r"no boxes for 'c.jpg' \(it has those of 'train/a.jpg'"):
        source.of("c.jpg", SIZE)


def test_coco_results_by_number_or_name(tmp_path: Path) -> None:
    source = FileProposer(save(tmp_path / "results.json", RESULTS))
    for name in ("000000000139.jpg", "some/139.png"):
        found = source.of(name, SIZE)
        assert found.boxes.tolist() == [BOX, [0, 0, 5, 5]]
        assert found.scores.tolist() == [0.5, 0.25]
    assert source.of("b.jpg", SIZE).scores.tolist() == [1]
    assert len(source.of("other.jpg", SIZE)) == 0  # results cannot say that there are none
    assert source.scored


def test_labelme_is_the_box_around_each_shape(tmp_path: Path) -> None:
    found = FileProposer(save(tmp_path / "a.json", LABELME)).of("anything", SIZE)
    assert found.boxes.tolist() == [BOX, [1, 2, 9, 8]]
    assert found.labels == ("cat", "cup")


def test_yolo_in_shares_with_and_without_confidence(tmp_path: Path) -> None:
    lines = "0 0.2 0.3 0.2 0.4 0.75\n\n3 0.5 0.5 1 1\n1 0.1 0.1 0.3 0.1 0.2 0.4\n"
    source = FileProposer(save(tmp_path / "a.txt", lines))
    found = source.of("", SIZE)
    expected = [BOX, [0, 0, 200, 100], [20, 10, 60, 40]]
    np.testing.assert_allclose(found.boxes, expected, atol=1e-3)
    assert (found.scores.tolist(), found.labels) == ([0.75, 1, 1], ("0", "3", "1"))
    assert not FileProposer(save(tmp_path / "b.txt", "0 0.2 0.3 0.2 0.4")).scored
    assert FileProposer(save(tmp_path / "c.txt", "")).most == 0


def test_folders_by_the_name_of_the_picture(tmp_path: Path) -> None:
    (yolo := tmp_path / "labels").mkdir()
    save(yolo / "a.txt", "0 0.2 0.3 0.2 0.4")
    save(yolo / "classes.txt", "cat\n")
    source = FileProposer(yolo)
    np.testing.assert_allclose(source.of("x/a.jpg", SIZE).boxes, [BOX], atol=1e-3)
    assert len(source.of("b.jpg", SIZE)) == 0
    (labelme := tmp_path / "labelme").mkdir()
    save(labelme / "a.json", LABELME)
    source = FileProposer(labelme)
    assert source.of("x/a.jpg", SIZE).labels == ("cat", "cup")
    with pytest.raises(InputError, match=r"labelme has no boxes for 'b.jpg'"):
        source.of("b.jpg", SIZE)


def test_the_name_comes_with_the_picture(tmp_path: Path) -> None:
    from fo1.imaging import load_image

    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.jpg")
    source = FileProposer(save(tmp_path / "coco.json", COCO))
    for picture in (tmp_path / "a.jpg", Image.open(tmp_path / "a.jpg")):
        assert source.propose(load_image(load_image(picture))).boxes.tolist() == [BOX]
    with pytest.raises(InputError, match=r"no boxes for a picture without a file name .*its path"):
        source.propose(Image.new("RGB", SIZE[::-1]))


def changed(row: dict, **values) -> list[dict]:
    return [RESULTS[0], {**row, **values}]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("o.json", {"things": []}, "holds an object without boxes, shapes or annotations"),
        ("o.json", {"boxes": [BOX], "scores": []}, "scores is no list of 1; give one a box"),
        ("o.json", {"boxes": [BOX], "scores": [2]}, "row 0: the score is 2.0; expected a number"),
        ("o.json", {"boxes": [BOX], "labels": "cat"}, "labels is no list of 1"),
        ("o.json", {"boxes": [[1, 2]]}, "row 0 has 2 entries, a box has 4"),
        ("r.json", changed(RESULTS[0], bbox=[1, 2, 3]), "row 1 has no bbox"),
        ("r.json", changed(RESULTS[0], score="0.5"), "row 1: the score is '0.5'"),
        ("r.json", changed(RESULTS[0], score=1.5), "row 1: the score is 1.5"),
        ("r.json", changed(RESULTS[0], image_id=None), "row 1 has no image_id"),
        ("r.json", changed(RESULTS[0], image_id=True), "row 1 has no image_id"),
        ("r.json", [RESULTS[0], 3], "row 1 has no bbox"),
        (
            "c.json",
            {**COCO, "annotations": [{"id": 5, "image_id": 9, "category_id": 1, "bbox": BOX}]},
            "annotation 5: image_id is 9, which the file does not list; mend or remove it",
        ),
        ("c.json", {"images": [], "annotations": []}, "no list 'categories'"),
        ("l.json", {"shapes": [{"label": "cat"}]}, "line 1: the points of the polygon are None"),
        ("y.txt", "0 0.2 0.3 0.2\n", "line 1: 4 numbers; expected 'class x y width height'"),
        ("y.txt", "0 0.2 0.3 0.2 0.4\ncat 0 0 1 1", "line 2: 'cat 0 0 1 1' holds no numbers"),
        ("y.txt", "0 20 30 20 40", "line 1: 20 is no share of a picture"),
        ("y.txt", "0 0.2 0.3 0.2 0.4 9", "line 1: the score is 9.0"),
        ("y.txt", "0.5 0.2 0.3 0.2 0.4", "line 1: '0.5 0.2 0.3 0.2 0.4'; expected"),
    ],
)
def test_a_bad_row_is_one_clear_line(tmp_path: Path, name: str, content, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as told:
        FileProposer(save(tmp_path / name, content))
    assert "\n" not in str(told.value)
    assert name in str(told.value)


def test_a_folder_without_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no label files; give a folder with"):
        FileProposer(tmp_path)
