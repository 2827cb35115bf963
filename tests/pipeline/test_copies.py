"""A model that was used can be copied and pickled: the copy answers as the model does, and remembers nothing."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.pipeline import FO1
from tests import tiny
from tests.pipeline.conftest import SIZE, front

NAMES = ["cat", "dog"]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
@pytest.mark.parametrize("host", [*tiny.KINDS, "vipllava"])
def test_a_copy_answers_as_the_model_does(host: str, again: Callable[[Any], Any]) -> None:
    model = front(tiny.make_model(host, score=True), host=host)
    scene = model.encode(tiny.picture(*SIZE), limit=5)
    expected = scene.detect(NAMES, 0.0)
    twin, moved = again((model, scene))
    assert len(model.engine.memory) > len(twin.engine.memory) == 0
    assert twin.engine.model is not model.engine.model
    for found in (
        twin.detect(moved, NAMES, 0.0),
        twin.detect(tiny.picture(*SIZE), NAMES, 0.0, limit=5),
        model.detect(tiny.picture(*SIZE), NAMES, 0.0, limit=5),
    ):
        np.testing.assert_array_equal(found.regions, expected.regions)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_a_copy_has_proposers_of_its_own(seeing: FO1) -> None:
    model = FO1(seeing.engine, seeing.folder, proposer="nanodet")
    boxes = model.propose(tiny.picture(*SIZE))
    twin = pickled(model)
    assert twin.propose(tiny.picture(*SIZE)) == boxes
    detector = twin.engine.model.region_encoder.auxiliary.detector
    assert twin.get_proposer().model is detector is not model.get_proposer().model


def test_a_model_spread_over_devices_says_what_to_do(scoring: FO1, monkeypatch: Any) -> None:
    layer = scoring.engine.model.vlm.get_decoder().layers[0]
    monkeypatch.setattr(layer, "_hf_hook", object(), raising=False)
    with pytest.raises(InputError, match="load it where it is needed, with FO1"):
        pickle.dumps(scoring)
