"""schemathesis against the server's own schema: whatever it makes up, the answer is one that is promised."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from fo1.pipeline import FO1
from fo1.serving.app import create_app
from fo1.serving.limits import Limits
from fo1.serving.server import create_service
from tests import tiny
from tests.serving.conftest import data_url, file_of

PICTURES = [data_url(file_of(tiny.picture(48, 40, seed=seed))) for seed in range(3)]
schemathesis.openapi.format("picture", st.sampled_from(PICTURES))


@pytest.fixture(scope="module")
def api(loaded: FO1) -> Any:
    app = create_app(create_service(loaded, Limits(seconds=60)))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_it_finds_nothing(case: Any) -> None:
    # A picture that holds a box, a region that exists: such things no schema can say.
    case.call_and_validate(excluded_checks=[positive_data_acceptance, ignored_auth])


def test_a_server_error_would_be_found() -> None:
    assert not_a_server_error in schemathesis.checks.CHECKS.get_all()
