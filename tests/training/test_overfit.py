"""Eight samples of every task are learned to the last token of their answers, on a tiny random host."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny
from tests.training.samples import listing

from fo1 import prompts, tags
from fo1.data.collator import Collator
from fo1.data.sample import Dialogue, Query, Sample
from fo1.layout import TURN_END, answer_turn, question_branch, scene_prefix
from fo1.models.decoding import decode
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training.recipe import Recipe
from fo1.training.run import Run, run
from fo1.training.stages import Stage

WORDS = ("red cup", "dog", "old car", "cat", "blue hat", "spoon", "tree", "big house")
REGIONS = 4


def detect(n: int) -> tuple[str, str]:
    present = [n % REGIONS] if n < 6 else []
    return prompts.detect(["cup", "dog"]), listing("cup", *present) + listing(
        "dog", (n + 1) % REGIONS
    )


def refer(n: int) -> tuple[str, str]:
    return prompts.refer("the thing on top"), listing(
        "the thing on top", *([n % REGIONS] if n else [])
    )


def count(n: int) -> tuple[str, str]:
    number = n % (REGIONS + 1)
    return prompts.count("cup"), f"{listing('cup', *range(number))} {number}"


def describe(n: int) -> tuple[str, str]:
    return prompts.describe([1]), WORDS[n]


def read(n: int) -> tuple[str, str]:
    return prompts.read([2]), WORDS[n].upper()


def ground(n: int) -> tuple[str, str]:
    return prompts.ground(), f"{listing(WORDS[n], n % REGIONS)} on a table."


def similar(n: int) -> tuple[str, str]:
    return prompts.similar(0), listing("cup", 1 + n % (REGIONS - 1))


TASKS: dict[str, Callable[[int], tuple[str, str]]] = {
    "detect": detect,
    "refer": refer,
    "count": count,
    "describe": describe,
    "read": read,
    "ground": ground,
    "similar": similar,
}


def make_samples() -> list[Sample]:
    made: list[Sample] = []
    for n in range(8):
        picture, boxes = tiny.picture(84, 84, seed=n), tiny.boxes(REGIONS, 84, 84, seed=n)
        targets = np.eye(REGIONS, dtype=np.float32)[n % REGIONS]
        dialogues = tuple(Dialogue((make(n),), task) for task, make in TASKS.items())
        made.append(
            Sample(
                str(n), (picture,), (boxes,), (Query("cup", targets),), dialogues, ((),) * REGIONS
            )
        )
        turns = (("What is your name?", f"{WORDS[n]}."), ("And twice?", f"{WORDS[n]}, {WORDS[n]}."))
        asked = ((f"I am {WORDS[n]}. {turns[0][0]}", turns[0][1]), turns[1])
        made.append(Sample(f"text{n}", (), (), (), (Dialogue(asked, "general"),)))
    return made


FAST = {"qwen2_5_vl", "llava"}  # up to two minutes each, so two kinds stand for all
HOSTS = [pytest.param(h, marks=[pytest.mark.slow] * (h not in FAST)) for h in tiny.KINDS]


@pytest.mark.parametrize("host", HOSTS)
def test_eight_samples_of_every_task_are_learned_exactly(host: str, tmp_path: Path) -> None:
    samples, processor = make_samples(), tiny.make_processor(host)
    rates = {"regions": 4e-3, "score_head": 4e-3, "language_model": 4e-3, "vision": 2e-3}
    stage = Stage(name="overfit", learns=rates, steps=260, batch=16, warmup=0.05, weight_decay=0.0)
    model = run(
        Run(
            recipe=Recipe(name="x", stages=(stage,), micro_batch=16, save_every=1000),
            load=lambda: tiny.make_model(host, score=True),
            processor=processor,
            draw=lambda stage: lambda index: samples[index % len(samples)],
            collator=Collator(processor),
            out=tmp_path,
        )
    )
    wrong = [
        (sample.key, dialogue.task, found, answer)
        for sample in samples
        for dialogue in sample.dialogues
        for found, answer in answers(model, processor, sample, dialogue)
        if found != answer
    ]
    assert not wrong, f"{len(wrong)} wrong, for example {wrong[:3]}"


def answers(
    model: FO1ForConditionalGeneration, processor: object, sample: Sample, dialogue: Dialogue
) -> list[tuple[list[int], list[int]]]:
    """What the model writes for each turn and what it should, the turns before as they should be."""
    pairs: list[tuple[list[int], list[int]]] = []
    prompt = scene_prefix(*map(len, sample.boxes))
    for number, (question, answer) in enumerate(dialogue.turns):
        prompt += ("\n<|im_start|>user\n" if number else "") + question_branch(question)
        inputs = processor(images=sample.images, boxes=sample.boxes, text=prompt)  # type: ignore[operator]
        end = processor.tokenizer.convert_tokens_to_ids(TURN_END)  # type: ignore[attr-defined]
        wanted = processor.token_ids(answer_turn(answer))  # type: ignore[attr-defined]
        with torch.no_grad():
            told = decode(
                model,
                grammars=[None],
                max_new_tokens=len(wanted) + 3,
                ends=[end],
                pad=0,
                **inputs,
            )[0]
        pairs.append((list(told.tokens), wanted))
        prompt += answer_turn(answer)
    return pairs


def test_the_samples_cover_every_task() -> None:
    taught = {d.task for sample in make_samples() for d in sample.dialogues}
    assert taught == {str(t) for t in prompts.Task if t is not prompts.Task.ASK} | {"general"}
    assert any(tags.NONE_TEXT in make(n)[1] for make in TASKS.values() for n in range(8))
