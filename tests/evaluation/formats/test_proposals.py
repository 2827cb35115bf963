import json

import numpy as np
import pytest

from fo1.errors import BoxError, InputError
from fo1.evaluation.example import Example
from fo1.evaluation.formats.proposals import RecordedProposals
from tests.tiny import picture


def example(name: str, image_id: int | None = None) -> Example[None]:
    return Example("k", name, picture(40, 30), (), None, image_id=image_id)


def write(tmp_path, content: object, *, lines: bool = False):
    path = tmp_path / "boxes.json"
    text = "\n".join(map(json.dumps, content)) if lines else json.dumps(content)  # type: ignore[call-overload]
    path.write_text(text)
    return path


def test_coco_results_are_found_by_number_best_first(tmp_path) -> None:
    rows = [
        {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.2},
        {"image_id": 7, "bbox": [0, 0, 9, 9], "score": 0.9},
        {"image_id": 8, "bbox": [0, 0, 5, 5], "score": 0.5},
    ]
    source = RecordedProposals(write(tmp_path, rows))
    found = source(example("val/a.jpg", 7), picture(40, 30))
    assert found.boxes.tolist() == [[0, 0, 9, 9], [1, 2, 4, 6]]
    np.testing.assert_allclose(found.scores, [0.9, 0.2])
    assert RecordedProposals(tmp_path / "boxes.json", limit=1)(
        example("a.jpg", 7), picture(40, 30)
    ).boxes.tolist() == [[0, 0, 9, 9]]


def test_lines_are_found_by_name(tmp_path) -> None:
    rows = [
        {"image": "a.jpg", "boxes": [[1, 2, 3, 4]], "scores": [0.5]},
        {"image": "b", "boxes": []},
    ]
    source = RecordedProposals(write(tmp_path, rows, lines=True))
    assert len(source(example("val/a.jpg"), picture(40, 30))) == 1
    assert len(source(example("b.png"), picture(40, 30))) == 0


@pytest.mark.parametrize("keys", [("bbox_list", "score_list"), ("bboxes", "scores")])
def test_the_published_boxes_are_read_as_they_are(tmp_path, keys) -> None:
    row = {"image": "image_0.jpg", keys[0]: [[1, 2, 3, 4]], keys[1]: [0.5], "question": "How many?"}
    for lines in (True, False):
        found = RecordedProposals(write(tmp_path, [row], lines=lines))(
            example("image_0.jpg"), picture(40, 30)
        )
        assert found.boxes.tolist() == [[1, 2, 3, 4]]
        assert found.scores.tolist() == [0.5]


def test_a_picture_without_an_entry_is_told(tmp_path) -> None:
    source = RecordedProposals(write(tmp_path, [{"image": "a", "boxes": []}], lines=True))
    with pytest.raises(InputError, match=r"no entry for c\.jpg"):
        source(example("c.jpg"), picture(40, 30))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"image": "a"}', "no 'boxes'"),
        ('[{"image_id": 1, "bbox": [1, 2, 3], "score": 1}]', "holds no proposals"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "no 'score'"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 7}]', "a score is 7"),
        ("[1, 2]", "holds no proposals"),
        ('{"image": "a", "boxes": [[0, 0, 1, 1]], "scores": []}', "1 boxes but 0 scores"),
        ('{"image": "a", "boxes": [[0, 0, 1]]}', "not four numbers"),
        ('{"image": "a", "boxes": []}\n{"image": "a", "boxes": []}', "'a' comes twice"),
        ('{"images": [],\n"annotations": []}', "annotation file"),
        ("not json", "line 1 is no JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, told) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"{told}.*give COCO results"):
        RecordedProposals(path)


def test_a_file_of_another_data_set_is_refused_at_once(tmp_path) -> None:
    source = RecordedProposals(write(tmp_path, [{"image": "x/a.jpg", "boxes": []}], lines=True))
    source.check([example("b.jpg"), example("val/a.jpg")])
    with pytest.raises(InputError, match=r"none of the 1 pictures .*'x/a\.jpg'.*'b\.jpg'"):
        source.check([example("b.jpg")])
    with pytest.raises(InputError, match="none at all"):
        RecordedProposals(write(tmp_path, [])).check([example("b.jpg")])


def test_coco_results_say_nothing_of_pictures_without_boxes(tmp_path) -> None:
    rows = [{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.2}]
    assert len(RecordedProposals(write(tmp_path, rows))(example("b.jpg", 8), picture(40, 30))) == 0


def test_a_byte_order_mark_is_no_matter(tmp_path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"image": "a", "boxes": [[0, 0, 1, 1]]}')
    assert len(RecordedProposals(path)(example("a.jpg"), picture(40, 30))) == 1


def test_boxes_outside_the_picture_are_told(tmp_path) -> None:
    rows = [{"image": "a", "boxes": [[100, 100, 120, 120]]}]
    with pytest.raises(BoxError):
        RecordedProposals(write(tmp_path, rows, lines=True))(example("a"), picture(40, 30))


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        RecordedProposals(tmp_path / "none.json")


@pytest.mark.parametrize("lines", [True, False])
def test_a_bad_box_is_told_by_its_place_in_the_file(tmp_path, lines) -> None:
    rows: list[dict] = [{"image_id": 9, "bbox": [1, 2, 3, 4], "score": 0.1}]
    rows += [{"image_id": 7, "bbox": [x, 2, 3, 4], "score": x / 1000} for x in (1, 500, 2)]
    source = RecordedProposals(write(tmp_path, rows, lines=lines))
    with pytest.raises(BoxError, match=r"^boxes\.json row 2: .* lies outside"):
        source(example("a.jpg", 7), picture(40, 30))
    own = {"image": "a.jpg", "boxes": [[1, 2, 3, 4], [50, 2, 60, 4]], "scores": [0.1, 0.9]}
    source = RecordedProposals(write(tmp_path, [{"image": "b", "boxes": []}, own], lines=lines))
    with pytest.raises(BoxError, match=r"^boxes\.json row 1, box 1: .* lies outside"):
        source(example("a.jpg"), picture(40, 30))
