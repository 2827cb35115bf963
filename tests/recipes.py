"""Recipes are scripts whose files know each other by their plain names."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def importing(folder: str) -> Iterator[None]:
    """Import from a folder of recipes/; what came from there is forgotten afterwards."""
    place = str(Path(__file__).parents[1] / "recipes" / folder)
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        yield
    for name in set(sys.modules) - before:
        if place in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
