from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fo1.errors import ImageError, InputError
from fo1.results import Detections
from fo1.visualize import PALETTE, draw, save_picture


def found(boxes: list[list[float]], labels: list[str], size: tuple[int, int]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        tuple(labels),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.arange(count),
        size,
    )


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == color).all(axis=2).any())


def test_a_new_picture_is_returned_and_the_old_one_is_untouched() -> None:
    picture = Image.new("RGB", (200, 100), "white")
    drawn = draw(picture, found([[20, 40, 90, 90]], ["cat"], (100, 200)))
    assert drawn.size == picture.size
    assert drawn.mode == "RGB"
    assert picture.getcolors() == [(20_000, (255, 255, 255))]
    assert has_color(drawn, PALETTE[0])
    assert drawn.getpixel((150, 95)) == (255, 255, 255)  # nothing far from box and label


def test_the_line_runs_on_the_inner_edge_of_the_box() -> None:
    drawn = draw(Image.new("RGB", (200, 100)), found([[20, 40, 90, 90]], ["cat"], (100, 200)))
    assert drawn.getpixel((20, 70)) == PALETTE[0]
    assert drawn.getpixel((89, 70)) == PALETTE[0]
    assert drawn.getpixel((60, 89)) == PALETTE[0]
    assert drawn.getpixel((91, 70)) == (0, 0, 0)


def test_one_colour_a_label_in_order_of_appearance() -> None:
    boxes = [[5, 60, 40, 90], [60, 60, 100, 90], [120, 60, 160, 90]]
    drawn = draw(Image.new("RGB", (200, 100)), found(boxes, ["b", "a", "b"], (100, 200)))
    assert [drawn.getpixel((int(box[0]), 75)) for box in boxes] == [
        *(PALETTE[0], PALETTE[1], PALETTE[0]),
    ]
    many = [str(number) for number in range(2 * len(PALETTE))]
    draw(Image.new("RGB", (200, 100)), found([[5, 5, 60, 60]] * len(many), many, (100, 200)))


def test_scores_can_be_left_out() -> None:
    picture, cat = Image.new("RGB", (200, 100)), found([[20, 40, 90, 90]], ["cat"], (100, 200))
    with_score, without = draw(picture, cat), draw(picture, cat, show_scores=False)
    assert with_score.tobytes() != without.tobytes()


def test_no_detections_give_a_plain_copy() -> None:
    picture = Image.new("RGB", (20, 10), "red")
    drawn = draw(picture, Detections.empty((10, 20)))
    assert drawn is not picture
    assert drawn.tobytes() == picture.tobytes()


def test_a_picture_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(InputError, match="20 x 10 but the detections are for 10 x 20"):
        draw(Image.new("RGB", (20, 10)), Detections.empty((20, 10)))


@pytest.mark.parametrize("where", [[0, 0, 30, 20], [170, 0, 200, 20], [170, 80, 200, 100]])
@pytest.mark.parametrize("background", ["black", "white", (86, 180, 233)])
def test_labels_stay_inside_and_readable(where: list[float], background: str) -> None:
    drawn = draw(Image.new("RGB", (200, 100), background), found([where], ["giraffe"], (100, 200)))
    chip = (np.asarray(drawn) == PALETTE[0]).all(axis=2)
    ink = (np.asarray(drawn).astype(int).sum(axis=2) < 120) & (background != "black")
    assert chip.sum() > 200  # a whole label, not a sliver at the border
    if background != "black":
        assert ink.sum() > 30


@pytest.mark.parametrize("label", ["猫 кот قط 🐱", "", " \n ", "a\nb\0c", "x" * 3000, "\ud800"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 200), (60, 40), (300, 200)])
def test_any_label_on_any_size(label: str, size: tuple[int, int]) -> None:
    width, height = size
    boxes = [[0, 0, width, height], [-50, -50, 1, 1], [width / 2, 0, width / 2, height]]
    drawn = draw(Image.new("RGB", size), found(boxes, [label] * 3, (height, width)))
    assert drawn.size == size


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-100, 300)] * 4), max_size=60))
def test_any_boxes_can_be_drawn(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    labels = [f"thing {number % 9}" for number in range(len(boxes))]
    assert draw(Image.new("RGB", (120, 90)), found(boxes, labels, (90, 120))).size == (120, 90)


def test_labels_of_one_place_do_not_cover_each_other() -> None:
    picture = Image.new("RGB", (400, 300), "white")
    names = ["cat", "dog", "cow", "hen"]
    together = np.asarray(draw(picture, found([[100, 100, 160, 160]] * 4, names, (300, 400))))
    # The last box hides the lines of the others, so what they show is their labels.
    shown = [(together == color).all(axis=2).sum() for color in PALETTE[:3]]
    assert min(shown) > 300
    assert max(shown) < 1.2 * min(shown)


def test_a_font_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\.ttf"):
        draw(
            Image.new("RGB", (20, 10)),
            found([[0, 0, 5, 5]], ["a"], (10, 20)),
            font=tmp_path / "no.ttf",
        )


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "c.webp", "d.bmp"])
def test_saved_pictures_can_be_read_and_replace_old_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    assert save_picture(Image.new("RGB", (20, 10), "red"), str(path)) == path
    with Image.open(path) as image:
        assert image.size == (20, 10)
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_transparent_pictures_can_become_jpeg(tmp_path: Path) -> None:
    save_picture(Image.new("RGBA", (4, 4)), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full_disk(self: Image.Image, stream: object, *args: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(ImageError, match="No space left"):
        save_picture(Image.new("RGB", (4, 4)), path)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]


def test_bad_targets_name_the_cure(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    (tmp_path / "folder.png").mkdir()
    for target, words in [
        (tmp_path / "a.xyz", "unknown suffix '.xyz'"),
        (tmp_path / "a", "unknown suffix ''"),
        (tmp_path / "no" / "a.png", "is missing; create it"),
        (tmp_path / "folder.png", "it is a folder"),
    ]:
        with pytest.raises(ImageError) as caught:
            save_picture(picture, target)
        assert words in str(caught.value)
