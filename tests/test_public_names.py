"""The names that `import fo1` promises."""

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import fo1


@pytest.mark.parametrize("name", fo1.__all__)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(fo1, name) is not None
    assert name in dir(fo1)


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FO2'"):
        _ = fo1.FO2  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "verb", ["detect", "refer", "count", "describe", "read", "ground", "similar", "ask"]
)
def test_what_a_verb_returns_can_be_named(verb: str) -> None:
    returned = get_type_hints(getattr(fo1.Scene, verb))["return"]
    kind = next((part for part in getattr(returned, "__args__", ())), returned)
    assert getattr(fo1, kind.__name__) is kind


def test_the_heavy_names_wait_for_their_first_use() -> None:
    code = "import sys, fo1; assert 'torch' not in sys.modules; fo1.FO1Config; sys.modules['torch']"
    env = {"PYTHONPATH": str(Path(fo1.__file__).parents[1]), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
