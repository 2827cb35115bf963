"""Pictures of mixed sizes encoded at once: the same results, errors and threads as one after another."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from fo1.errors import ImageError
from fo1.pipeline import FO1
from fo1.pipeline.side_by_side import side_by_side
from fo1.proposals import Proposer
from fo1.results import Proposals
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_keep_their_order_and_workers_compute_with_one_thread() -> None:
    def work(number: int) -> tuple[int, int, int]:
        time.sleep(0.02 * (5 - number))  # the first is ready last
        return number, torch.get_num_threads(), threading.get_ident()

    found = side_by_side(work, range(5), CPU)
    assert [number for number, *_ in found] == list(range(5))
    assert {threads for _, threads, _ in found} == {1}
    assert 1 < len({ident for *_, ident in found}) <= 3
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize(
    ("items", "device"), [([1], CPU), ([1, 2], torch.device("meta")), ([], CPU)]
)
def test_little_work_and_other_devices_stay_in_this_thread(
    items: list[int], device: torch.device
) -> None:
    found = side_by_side(lambda item: (item, threading.get_ident()), items, device)
    assert found == [(item, threading.get_ident()) for item in items]


def test_the_first_error_is_told() -> None:
    def work(number: int) -> int:
        if number in (2, 3):
            time.sleep(0.05 * (4 - number))
            raise ValueError(f"item {number}")
        return number

    with pytest.raises(ValueError, match="item 2"):
        side_by_side(work, range(6), CPU)
    assert torch.get_num_threads() == 3


SIZES = [(84, 56), (56, 140), (112, 60), (84, 84), (140, 140), (61, 97), (33, 200)]


def test_a_batch_of_mixed_sizes_says_what_single_pictures_do(loaded: FO1) -> None:
    pictures = [tiny.picture(*size, seed=seed) for seed, size in enumerate(SIZES)]
    names = ["cat", "coffee cup"]
    apart = [loaded.detect(picture, names, threshold=0.0) for picture in pictures]
    for size in (2, 3, len(pictures)):
        together = loaded.detect(pictures, names, threshold=0.0, batch_size=size)
        for one, other in zip(apart, together, strict=True):
            assert one.labels == other.labels
            np.testing.assert_array_equal(one.regions, other.regions)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    with pytest.raises(ImageError, match="nowhere"):
        loaded.detect([*pictures, "nowhere.jpg"], names, batch_size=8)


class Watched(Proposer):
    """Proposes one box, and sees which threads ask."""

    name = "watched"

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def propose(self, image: object) -> Proposals:
        self.threads.add(threading.get_ident())
        return Proposals(np.array([[1, 1, 20, 20]], np.float32), np.ones(1, np.float32))


def test_a_proposer_of_the_caller_s_own_is_asked_from_the_caller_s_thread(
    loaded: FO1, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [tiny.picture(*size) for size in SIZES]
    ask: Callable[..., object] = loaded.detect
    watched = Watched()
    ask(pictures, ["cat"], proposer=watched, batch_size=4)
    assert watched.threads == {threading.get_ident()}
    watched.threads.clear()
    monkeypatch.setattr(loaded, "_proposer", watched)
    ask(pictures, ["cat"], batch_size=4)
    assert watched.threads == {threading.get_ident()}
