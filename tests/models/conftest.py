"""One tiny model and its processor, shared by the model tests, which must not change it."""

import pytest

from fo1.models import FO1ForConditionalGeneration, FO1Processor
from tests import tiny


@pytest.fixture(scope="module", params=sorted(tiny.HOSTS))
def family(request: pytest.FixtureRequest) -> str:
    """The host's family, for tests that hold for every one."""
    return request.param


@pytest.fixture(scope="session")
def model() -> FO1ForConditionalGeneration:
    return tiny.make_model()


@pytest.fixture(scope="session")
def processor() -> FO1Processor:
    return tiny.make_processor()
