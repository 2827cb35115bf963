"""A run: a task's examples through a model, resumable, in one process or many.

    run(predictor, folder)            rows on the disk; kill it, start it again, nothing is lost
    evaluate(model, task)             in memory, for training and notebooks

Batches are cut at the same places in every run, so a row does not depend on where a run was
interrupted or how many processes shared it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fo1.errors import InputError
from fo1.evaluation.contestants import MODEL, Contestant
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import RESAMPLES
from fo1.evaluation.predicting import Predictor, Source, Told
from fo1.evaluation.processes import Processes
from fo1.evaluation.run_folder import Key, Place, RunFolder
from fo1.evaluation.summary import Summary, summarise
from fo1.evaluation.task import AnyTask
from fo1.pipeline import FO1

Step = Callable[[int, int], None]
"""Called with the number of examples that were done, and how many of those failed."""


def run(
    predictor: Predictor,
    folder: RunFolder,
    *,
    batch_size: int = 1,
    processes: Processes | None = None,
    step: Step = lambda done, failed: None,
) -> Told | None:
    """Return all predictions once they are on the disk; None in processes other than the first.

    Args:
        predictor: model, task and contestants.
        folder: of the run; a run that was stopped is gone on with. It is closed in the end.
        batch_size: examples that are asked together.
        processes: this one among all; a single one if None.
        step: told how far this process has come.

    Raises:
        InputError: batch_size is below 1.
    """
    processes = processes or Processes()
    task = predictor.task
    try:
        places = folder.places(_answers(task))
        folder.found = len(places)
        for number, batch in enumerate(_batches(task.examples, batch_size)):
            if number % processes.count != processes.rank:
                continue
            missing = _missing(batch, predictor.contestants, places)
            failed = {one.key for one in batch if _failed(places, one.key)}
            if missing:
                known = (places.get((MODEL.name, one.key)) for one in batch)
                before = [folder.read(place) for place in known if place is not None]
                told = predictor.only(missing).predict(batch, {one.key: one for one in before})
                rows = [(who, p) for who, each in told.items() for p in each]
                folder.append((who, p) for who, p in rows if (who, p.key) not in places)
                failed |= {p.key for who, p in rows if who == MODEL.name and p.error is not None}
            step(len(batch), len(failed))
        processes.wait_for_all()
        return None if processes.rank else _finish(predictor, folder)
    finally:
        folder.close()


def _finish(predictor: Predictor, folder: RunFolder) -> Told:
    """Return all predictions with rows.jsonl written."""
    task, names = predictor.task, [who.name for who in predictor.contestants]
    order: list[Key] = [(who, example.key) for example in task.examples for who in names]
    broken = [{"broken": bad.key, "error": bad.problem} for bad in task.broken]
    told: Told = {who: [] for who in names}
    for who, prediction in folder.finish(order, _answers(task), broken):
        told[who].append(prediction)
    return told


def evaluate(
    model: FO1,
    task: AnyTask,
    *,
    source: Source | None = None,
    contestants: tuple[Contestant, ...] = (MODEL,),
    floors: bool = False,
    batch_size: int = 1,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Summary:
    """Return the figures of a model on a task; nothing is written, a training model stays one.

    Example:
        >>> task = CountBench.load(Path("countbench")).first(100)  # doctest: +SKIP
        >>> evaluate(model, task).figures["accuracy"].value  # doctest: +SKIP
        89.7

    Args:
        model: the model; in training, `FO1` around the model that learns.
        task: what is asked; `task.first(100)` for a part.
        source: of boxes; the model's own proposer if None.
        contestants: the model and what else is to be asked.
        floors: whether floors and ceilings that need no model are worked out as well.
        batch_size: examples that are asked together.
        seed: of shuffles and resamples.
        resamples: for the intervals.
    """
    predictor = Predictor(model, task, source, contestants, seed)
    told: Told = {who.name: [] for who in contestants}
    network = model.engine.model
    training = network.training
    network.eval()
    try:
        for batch in _batches(task.examples, batch_size):
            for who, predictions in predictor.predict(batch).items():
                told[who] += predictions
    finally:
        network.train(training)
    return summarise(task, told, floors=floors, seed=seed, resamples=resamples)


def _batches(examples: Sequence[Example[Any]], size: int) -> list[Sequence[Example[Any]]]:
    if size < 1:
        raise InputError(f"the batch size is {size}; give 1 or more")
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def _missing(
    batch: Sequence[Example[Any]], contestants: Sequence[Contestant], places: Mapping[Key, Place]
) -> tuple[Contestant, ...]:
    """Return the contestants that lack a row of a batch; they are asked the whole batch again."""
    return tuple(
        who for who in contestants if any((who.name, one.key) not in places for one in batch)
    )


def _answers(task: AnyTask) -> dict[str, int]:
    return {example.key: len(example.requests) for example in task.examples}


def _failed(places: Mapping[Key, Place], key: str) -> bool:
    place = places.get((MODEL.name, key))
    return place is not None and place.failed
