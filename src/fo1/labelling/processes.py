"""Shards shared out among the processes of one machine; each holds one at a time and asks for the next.

What a process has in hand is one shard, what it says is small, and nobody sends the next shard before: so memory is
that of the models and of two batches for each, whatever the number of pictures. A process whose parent is gone ends.
"""

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from fo1.errors import FO1Error
from fo1.labelling.labeller import Labeller, LabellingError, Work, set_threads
from fo1.labelling.pictures import Shard
from fo1.labelling.rows import Tally

MOST_BY_DEFAULT = 8


def usual_count(device: str | None) -> int:
    """Return how many processes a run has if nobody says: one a GPU, else one a core, eight at most."""
    if device is None and torch.cuda.is_available():
        return torch.cuda.device_count()
    if device is not None and not device.startswith("cpu"):
        return 1
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable is not None else os.cpu_count() or 1
    return min(MOST_BY_DEFAULT, cores)


def label_here(work: Work, shards: Iterator[Shard]) -> Iterator[Tally]:
    """Yield what each batch adds, with all shards labelled in this process."""
    before = torch.get_num_threads()
    set_threads()
    try:
        labeller = Labeller(work)
        for shard in shards:
            yield from labeller.label(shard)
    finally:
        torch.set_num_threads(before)


def label_in_processes(work: Work, shards: Iterator[Shard], count: int) -> Iterator[Tally]:
    """Yield what each batch adds, in the order in which they come.

    Args:
        work: what is to be done.
        shards: to be labelled.
        count: of processes.

    Raises:
        FO1Error: the model cannot be used.
        LabellingError: memory is too short, or a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, BaseProcess] = {}
    try:
        for rank in range(count):
            shard = next(shards, None)
            if shard is None:
                break
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, rank, theirs), daemon=True)
            with _deaf():
                process.start()
            theirs.close()  # so that its end is seen
            running[ours] = process
            _send(ours, process, shard)
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                told = _receive(ready, running[ready])
                if isinstance(told, Tally):
                    yield told
                    continue
                shard = next(shards, None)
                if shard is not None:
                    _send(ready, running[ready], shard)
                    continue
                ready.close()
                running.pop(ready).join()
    finally:
        for connection, process in running.items():
            process.terminate()
            process.join()
            connection.close()


def _send(connection: Connection, process: BaseProcess, shard: Shard) -> None:
    try:
        connection.send(shard)
    except ConnectionError as error:
        raise _died(process) from error


def _receive(connection: Connection, process: BaseProcess) -> Tally | None:
    """Return what a process says: what a batch adds, or None where it wants another shard."""
    try:
        told = connection.recv()
    except (EOFError, ConnectionError) as error:
        raise _died(process) from error
    if isinstance(told, BaseException):
        raise told
    return told


def _died(process: BaseProcess) -> LabellingError:
    process.join()
    return LabellingError(
        f"a labelling process ended with {_ending(process.exitcode)}; the same command goes on "
        "where it was; if memory was short, give fewer --processes"
    )


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            pass
    return f"status {code}"


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started ignore Ctrl-C, which goes to all; the first one ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if before is not None:  # one that Python did not set can't be put back
            signal.signal(signal.SIGINT, before)


def _serve(work: Work, rank: int, connection: Connection) -> None:
    """Label what the parent sends until it sends nothing more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it was not inherited
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    set_threads()
    try:
        labeller = Labeller(_placed(work, rank))
        while True:
            shard: Shard = connection.recv()
            for told in labeller.label(shard):
                connection.send(told)
            connection.send(None)
    except (EOFError, ConnectionError):  # no more shards, or nobody to tell
        return
    except (FO1Error, LabellingError) as error:
        connection.send(error)
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        connection.send(LabellingError(f"{type(error).__name__} in a labelling process: {told}"))


def _placed(work: Work, rank: int) -> Work:
    """Return the work of a process on its own GPU, if there are any and none was asked for."""
    if work.device is not None or not torch.cuda.is_available():
        return work
    return replace(work, device=f"cuda:{rank % torch.cuda.device_count()}")
