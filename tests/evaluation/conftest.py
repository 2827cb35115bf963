from pathlib import Path

import pytest

from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from tests.tiny import make_model, make_processor


@pytest.fixture(scope="package")
def model() -> FO1:
    """A random model with a score head; its boxes are a grid."""
    engine = Engine("tiny", make_model(score=True), make_processor())
    return FO1(engine, Path(), proposer="grid")
