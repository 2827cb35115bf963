import numpy as np
import pytest

from fo1.data.pictures import PicturePack
from fo1.data.scenes import Scene, SceneGenerator


@pytest.fixture(scope="package")
def pack() -> PicturePack:
    return PicturePack.open()


@pytest.fixture(scope="package")
def generator(pack: PicturePack) -> SceneGenerator:
    return SceneGenerator(pack, size=(256, 420))


@pytest.fixture(scope="package")
def scenes(generator: SceneGenerator) -> list[Scene]:
    return [generator(3, index) for index in range(120)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
