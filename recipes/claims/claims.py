"""The six claims: which trainings each compares. What is expected of them is docs/claims_prereg.md."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from scenes import LINEAGES
from study import AMOUNTS, MIDDLE, RATES, TUNED_IN, Study, Training

COORDINATES = ("digits", "bins")
WAYS = (
    *COORDINATES,
    *(f"{name}, auxiliary" for name in COORDINATES),
    *(f"{name}, proposals" for name in COORDINATES),
    "regions",
)
ENCODERS = (
    "regions",
    "auxiliary only",
    "host only",
    "no pyramid",
    "no box embedding",
    "2 bins",
    "14 bins",
    "wide pyramid, concat",
    "wide pyramid, mean",
)
Found: TypeAlias = Callable[[Training], Mapping[str, Any] | None]
FAMILIES = ("qwen2_5_vl", "llava", "qwen3_5")


def compared(claim: int) -> dict[str, Training]:
    """Return what a claim compares, by what its table calls it; round, amount and rate are yet to be set."""
    plain = Training("regions", TUNED_IN)
    match claim:
        case 1:
            return {arm: replace(plain, arm=arm) for arm in (*WAYS, "regions without pointer")}
        case 2:
            return {arm: replace(plain, arm=arm) for arm in ENCODERS}
        case 3:
            staged = replace(plain, plan="two stages")
            return {
                "one stage": plain,
                "two stages": staged,
                "two stages, random host": replace(staged, host="random"),
            }
        case 4:
            return {arm: replace(plain, arm=arm) for arm in ("regions", "silence", "no negatives")}
        case 5:
            return {"regions": replace(plain, amount=AMOUNTS[-1])}
        case 6:
            return {family: replace(plain, family=family, plan="stage 1") for family in FAMILIES}
        case _:
            raise ValueError(f"claim {claim} is none of 1 to 6")


def amounts(claim: int, training: Training) -> tuple[int, ...]:
    """Return the amounts of scenes at which a claim compares, the most telling first."""
    if claim == 5:
        return (training.amount,)
    few, _, many = AMOUNTS
    return (MIDDLE, few, many) if claim == 1 and training.arm in WAYS else (MIDDLE,)


def tried(training: Training) -> list[Training]:
    """Return the trainings among which the rate is chosen."""
    return [replace(training, held_out=TUNED_IN, amount=MIDDLE, rate=rate) for rate in RATES]


def chosen_rate(training: Training, found: Found) -> float | None:
    """Return the best of the rates on other scenes of the lineages trained on; None where one is not measured yet.

    Args:
        training: whose arm, plan and host count.
        found: tells the figures of a training, None where there are none.
    """
    figures = {one.rate: found(one) for one in tried(training)}
    scores = {rate: own["check"]["f1@0.5"] for rate, own in figures.items() if own is not None}
    return max(scores, key=lambda rate: scores[rate]) if len(scores) == len(RATES) else None


def wanted(study: Study, claims: tuple[int, ...]) -> Iterator[Training | None]:
    """Return the trainings of some claims, most telling first; None where a rate is yet to be chosen."""
    templates = [(claim, one) for claim in claims for one in compared(claim).values()]
    for _, one in templates:
        yield from tried(one)
    for turn in range(len(AMOUNTS)):
        for claim, one in templates:
            rate = chosen_rate(one, study.found)
            for amount in amounts(claim, one)[turn : turn + 1]:
                for held_out in LINEAGES:
                    yield rate and replace(one, held_out=held_out, amount=amount, rate=rate)
