"""Shards shared out among the machines of a Ray cluster by Ray Data, which starts, watches and feeds the workers.

Workers write the same files as processes do, so OUT and the pictures must lie where every machine finds them under the
same path. Ray Data gives no worker more shards than it can take.
"""

from collections.abc import Iterator
from typing import Any

from fo1.errors import FO1Error, MissingExtraError
from fo1.labelling.labeller import Labeller, LabellingError, Work, set_threads
from fo1.labelling.pictures import Shard
from fo1.labelling.rows import Tally


def label_with_ray(work: Work, shards: Iterator[Shard], count: int | None) -> Iterator[Tally]:
    """Yield what each shard adds, in the order in which they come.

    Args:
        work: what is to be done.
        shards: to be labelled.
        count: of workers; None for one a GPU of the cluster, else one a core.

    Raises:
        FO1Error: the model cannot be used.
        MissingExtraError: Ray is not installed.
    """
    ray = _ray()
    rows = [{"number": s.number, "offset": s.offset, "count": s.count} for s in shards]
    if not rows:
        return
    own = not ray.is_initialized()
    if own:  # RAY_ADDRESS leads to a cluster; without it this machine is one
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if work.device is None else 0
        workers = min(count or gpus or int(there.get("CPU", 1)), len(rows))
        labelled = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            **({"num_gpus": gpus / max(workers, gpus)} if gpus else {"num_cpus": 1}),
        )
        for row in labelled.iter_rows():
            yield Tally(int(row["done"]), int(row["failed"]))
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        if own:
            ray.shutdown()


class _Worker:
    """Labels one shard a call; Ray makes one in each of its processes."""

    def __init__(self, work: Work) -> None:
        set_threads()
        self._labeller = Labeller(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        columns = (batch[name] for name in ("number", "offset", "count"))
        shards = [Shard(*map(int, values)) for values in zip(*columns, strict=True)]
        told = [list(self._labeller.label(shard)) for shard in shards]
        return {
            "done": [sum(one.done for one in each) for each in told],
            "failed": [sum(one.failed for one in each) for each in told],
        }


def _cause(error: BaseException) -> BaseException:
    """Return our own error in one of Ray's, else what Ray says."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, FO1Error | LabellingError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    told = " ".join(str(error).split())[-300:]
    return LabellingError(f"Ray stopped ({type(error).__name__}): {told}")


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("--ray", "ray[data]", "ray") from error
    return ray
