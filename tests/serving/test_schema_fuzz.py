"""schemathesis against the server's own schema: whatever it makes up, the answer is one that is promised."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fo1.pipeline import FO1
from fo1.serving.limits import Limits
from fo1.serving.server import create_service
from tests import tiny
from tests.serving.conftest import data_url, file_of, running
from tests.serving.test_api import VERBS

PICTURES = [data_url(file_of(tiny.picture(48, 40, seed=seed))) for seed in range(3)]
schemathesis.openapi.format("picture", st.sampled_from(PICTURES))
OPERATIONS = [
    *(("POST", f"/v1/{verb}") for verb in VERBS),
    ("POST", "/v1/chat/completions"),
    *(("GET", path) for path in ("/health", "/metrics", "/v1/models")),
]


@pytest.fixture(scope="module")
def api(loaded: FO1) -> Iterator[Any]:
    with running(create_service(loaded, Limits(seconds=600))) as (url, *_):
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_all_operations_are_tried(api: Any) -> None:
    found = {(result.ok().method.upper(), result.ok().path) for result in api.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_it_finds_nothing(api: Any, method: str, path: str, mode: GenerationMode) -> None:
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        pytest.skip("it takes nothing that could be wrong")
    strategy = api[path][method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        # That a box lies in the picture, or that a region exists, is more than a schema can say.
        case.call_and_validate(timeout=600, excluded_checks=[positive_data_acceptance])

    check()
