"""The packaged model on real photographs: what README promises, by the public door."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fo1 import FO1, Scene
from fo1.geometry import box_iou

ROOT = Path(__file__).parents[1]
# Boxes drawn by hand on the two photographs, xyxy pixels.
PHOTOS = {
    "cup": (ROOT / "examples/photos/coffee.jpg", [173, 18, 409, 309], "dog"),
    "cat": (ROOT / "tests/fixtures/photos/chelsea.jpg", [0, 0, 400, 300], "lion"),
}


@pytest.fixture(scope="module")
def nano() -> FO1:
    return FO1.from_pretrained()


@pytest.mark.parametrize("name", PHOTOS)
def test_finds_what_is_there_and_refuses_what_is_not(nano: FO1, name: str) -> None:
    path, truth, absent = PHOTOS[name]
    scene = nano.encode(path)
    assert scene.proposer == "nanodet+ssd"
    found = scene.detect([name, absent])
    assert set(found.labels) == {name}
    best = found[int(np.argmax(found.scores))]
    assert box_iou(np.float32([best.box]), np.float32([truth]))[0, 0] >= 0.5
    assert 0.4 <= best.score <= 1
    assert scene.count(absent).count == 0
    assert len(scene.refer(absent)) == 0


def test_describes_a_given_box(nano: FO1) -> None:
    path, truth, _ = PHOTOS["cat"]
    scene = nano.encode(path, boxes=[truth])
    assert scene.describe(regions=[0])[0].text == "cat"


def test_the_same_picture_gives_the_same_answer_after_loading_again(nano: FO1) -> None:
    path = PHOTOS["cup"][0]
    again = FO1.from_pretrained()
    one, two = nano.encode(path), again.encode(path)
    np.testing.assert_array_equal(one.regions, two.regions)
    np.testing.assert_allclose(
        one.scores(["cup", "spoon"]), two.scores(["cup", "spoon"]), atol=1e-6
    )


def test_scores_depend_a_little_on_the_other_regions(nano: FO1) -> None:
    scene, names = nano.encode(PHOTOS["cup"][0]), ["cup", "table", "spoon"]
    table = scene.scores(names)
    best = np.unique(np.argsort(-table, 0)[:2])
    alone = [nano.encode(scene, scene.regions[[region]]).scores(names)[0] for region in best]
    change = np.abs(np.stack(alone) - table[best]).max()
    told = re.search(r"by up to\s+([0-9.]+)\. Labels", Scene.detect.__doc__ or "")
    assert told is not None
    assert 0 < change <= float(told[1])


def test_labels_come_back_cleaned_as_is_said(nano: FO1) -> None:
    scene = nano.encode(PHOTOS["cup"][0], boxes=[PHOTOS["cup"][1]])
    told = re.search(r'"(.+)" comes back as\s+"(.+)"', Scene.detect.__doc__ or "")
    assert told is not None
    (label,) = scene.detect(told[1], threshold=0.0).labels
    assert ascii(label)[1:-1] == told[2]


def test_weights_stay_small() -> None:
    folder = ROOT / "src/fo1/assets/nano"
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) <= 40_000_000


def test_a_thousand_regions_need_hardly_more_memory_than_a_hundred() -> None:
    script = """
import resource, sys
import numpy as np
from fo1 import FO1

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model, rng = FO1.from_pretrained(), np.random.default_rng(0)
picture = (rng.random((400, 600, 3)) * 255).astype(np.uint8)
for count in (0, 1, 100, 300, 1000):
    corner = rng.uniform(0, [500, 300], (count, 2))
    scene = model.encode(picture, np.concatenate([corner, corner + rng.uniform(5, 90, (count, 2))], 1))
    assert len(scene.detect("cup", threshold=0.0)) == count
    if count == 100:
        before = peak()
print(len(scene), peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    count, grown = done.stdout.split()
    assert (int(count), float(grown) < 100) == (1000, True), f"{grown} MiB more"
