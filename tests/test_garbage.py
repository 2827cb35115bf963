"""The garbage collector rests while things load, and no longer."""

import gc
from pathlib import Path

import pytest

from fo1.garbage import collector_paused


def test_it_goes_on_afterwards_also_after_an_error() -> None:
    def fail() -> None:
        with collector_paused():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()


def test_who_switched_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_loading_leaves_it_on(folder: Path) -> None:
    from fo1 import FO1

    FO1.from_pretrained(folder, proposer="grid")
    assert gc.isenabled()
