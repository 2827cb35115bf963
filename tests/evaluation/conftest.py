from pathlib import Path

import pytest

from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from tests.tiny import make_model, make_processor


@pytest.fixture(scope="package")
def model() -> FO1:
    """A random model with a score head; its boxes are a grid."""
    tiny = make_model(score=True)
    tiny.generation_config.max_new_tokens = 6  # random weights write for ever
    engine = Engine("tiny", tiny, make_processor())
    return FO1(engine, Path(), proposer="grid")
