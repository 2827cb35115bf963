"""Work on many pictures at once, where that is faster than one after another.

On a CPU one picture keeps one core busy and the others half the time: its layers are small. Pictures of mixed sizes
share no tensor, so each goes to a thread of its own, which computes with that thread alone.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> list[Result]:
    """Return what `work` makes of every item, in their order; results are those of one after another.

    Args:
        work: may be called from several threads.
        items: what is worked on.
        device: where the model computes; other devices than the CPU are asked one item at a time.

    Raises:
        Exception: what `work` raised of the first item at which it did.
    """
    threads = min(torch.get_num_threads(), len(items))
    if device.type != "cpu" or threads < 2:
        return [work(item) for item in items]
    own = torch.get_num_threads()
    try:
        # The number is set in each worker: the caller's own stays, but threads that begin later would get the last one.
        with ThreadPoolExecutor(threads, "fo1", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(own)
