import pickle

import pytest

from fo1 import errors


@pytest.mark.parametrize("kind", [errors.ImageError, errors.BoxError, errors.QueryError])
def test_bad_input_is_a_value_error(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.InputError)
    assert issubclass(kind, ValueError)
    assert issubclass(kind, errors.FO1Error)


def test_checkpoint_error_is_not_bad_input() -> None:
    assert issubclass(errors.CheckpointError, ValueError)
    assert not issubclass(errors.CheckpointError, errors.InputError)


def test_missing_extra_names_the_cure_and_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(errors.MissingExtraError("fo1 serve", "starlette", "serve")))
    assert isinstance(error, ImportError)
    assert "pip install 'fo1[serve]'" in str(error)
    assert "starlette" in str(error)
