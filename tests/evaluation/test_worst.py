import numpy as np
from PIL import Image

from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.reliability import plot
from fo1.evaluation.task import Chances
from fo1.evaluation.worst import save_worst
from tests.evaluation.toy import NAMES, Toy


def test_wrong_pictures_are_drawn_and_right_or_failed_ones_not(tmp_path) -> None:
    task = Toy.of(4)
    box = [[5, 5, 30, 30]]
    wrong = Said.found([("tree", 0)], texts={0: "ein Bäum\n" + 50_000 * "x"}, count=3)
    predictions = [
        task.perfect(task.examples[0]),
        Prediction.made(task.examples[1], box, wrong, Said(written=("a" * 50_000,))),
        Prediction.failed(task.examples[2], "no picture"),
        Prediction.made(task.examples[3], box, Said.found([("cup", 0)]), Said()),
    ]
    assert [NAMES[index % 3] for index in range(4)] == ["cat", "cup", "tree", "cat"]
    (tmp_path / "07_old.png").write_bytes(b"of an earlier run")
    saved = save_worst(task, predictions, tmp_path)
    assert [path.name for path in saved] == ["01_1.png", "02_3.png"]
    assert sorted(tmp_path.iterdir()) == saved
    with Image.open(saved[0]) as sheet:
        assert sheet.width > 2 * 96
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 20


def test_at_most_so_many_are_drawn(tmp_path) -> None:
    task = Toy.of(6)
    predictions = [Prediction.made(example, [], Said(), Said()) for example in task.examples]
    assert len(save_worst(task, predictions, tmp_path, count=2)) == 2


def test_the_plot_has_a_curve_for_every_kind_of_score() -> None:
    score = np.linspace(0, 1, 50)
    one = Chances(np.zeros(50, np.int64), score, score > 0.5)
    empty = Chances(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    sheet = plot({"head": one, "token": empty})
    colours = {colour for _, colour in sheet.getcolors(1 << 20) or ()}
    assert (0, 114, 178) in colours
    assert sheet.height > plot({"head": one}).height


def test_a_share_of_one_stands_at_the_top() -> None:
    sure = Chances(np.zeros(9, np.int64), np.full(9, 0.95), np.ones(9, bool))
    wrong = Chances(np.zeros(9, np.int64), np.full(9, 0.95), np.zeros(9, bool))
    top, bottom = (
        np.argwhere((np.asarray(plot({"head": one}))[:440] == (0, 114, 178)).all(-1))[:, 0].mean()
        for one in (sure, wrong)
    )
    assert top < 100
    assert bottom > 350
