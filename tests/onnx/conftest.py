"""The exported nano, made once a session, and the model that it must equal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
PHOTOS = {
    "coffee": REPOSITORY / "examples/photos/coffee.jpg",
    "chelsea": REPOSITORY / "tests/fixtures/photos/chelsea.jpg",
}
WEB = REPOSITORY / "examples/web"


@pytest.fixture(scope="session")
def nano() -> Any:
    from fo1 import FO1

    return FO1.from_pretrained(device="cpu")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from fo1.onnx import export

    out = tmp_path_factory.mktemp("export") / "nano"
    export("nano", out)
    return out


@pytest.fixture(scope="session")
def pictures() -> dict[str, Image.Image]:
    """Real pictures, lying and standing, larger than the encoders see, and far smaller."""
    found = {name: Image.open(path).convert("RGB") for name, path in PHOTOS.items()}
    coffee, chelsea = found["coffee"], found["chelsea"]
    return found | {
        "standing": coffee.transpose(Image.Transpose.ROTATE_90),
        "large": coffee.resize((2400, 1600), Image.Resampling.BICUBIC),
        "strip": chelsea.crop((0, 100, 451, 160)),
        "tiny": chelsea.resize((40, 25)),
    }


def boxes_in(image: Image.Image, count: int) -> np.ndarray:
    """Return boxes of any size; the first is the whole picture, the second reaches beyond it."""
    size = np.array([image.width, image.height])
    corners = np.random.default_rng(count).random((count, 2, 2)) * size
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    boxes[:1] = [0, 0, *size]
    boxes[1:2] = [-9, -9, *(size / 2)]
    return boxes
