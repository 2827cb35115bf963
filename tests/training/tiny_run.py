"""A run on a tiny host as a command, so that it can be killed and shared by torchrun.

python -m tests.training.tiny_run OUT [KEY=VALUE ...]      settings of the recipe; host=NAME chooses the host
"""

import sys
from pathlib import Path

import torch
from tests import tiny
from tests.training import samples

from fo1.data.collator import Collator
from fo1.data.sample import Sample
from fo1.data.sampling import Sampling
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training.objective import Objective
from fo1.training.recipe import Recipe, change
from fo1.training.run import Run, run
from fo1.training.stages import Stage


def recipe() -> Recipe:
    rates = dict.fromkeys(("regions", "score_head", "pointer", "new_tokens"), 1e-2)
    return Recipe(
        name="tiny",
        stages=(
            Stage(name="alignment", learns=rates, steps=5, batch=4, warmup=0.2),
            Stage(
                name="perception",
                learns={
                    "regions": 5e-3,
                    "score_head": 5e-3,
                    "pointer": 5e-3,
                    "auxiliary": 1e-3,
                    "language_model": 1e-3,
                },
                steps=6,
                batch=4,
            ),
        ),
        sampling=Sampling(),
        micro_batch=2,
        save_every=2,
        seed=3,
    )


def sample(index: int) -> Sample:
    kinds = (samples.scene, samples.scene, samples.text, samples.pair, samples.bare)
    return kinds[index % len(kinds)](index % 9)


def make_run(out: Path, *settings: str) -> Run:
    """The run of a folder."""
    hosts = [one.partition("=")[2] for one in settings if one.startswith("host=")]
    host = hosts[0] if hosts else "qwen2_5_vl"
    chosen = change(recipe(), [one for one in settings if not one.startswith("host=")])
    return Run(
        recipe=chosen,
        load=lambda: tiny.make_model(host, score=True, pointer=8),
        processor=tiny.make_processor(host),
        draw=lambda stage: sample,
        collator=Collator(tiny.make_processor(host), pack_to=chosen.pack_to),
        out=out,
        measure=fingers if chosen.measure_every else None,
    )


@torch.no_grad()
def fingers(model: FO1ForConditionalGeneration) -> dict[str, float]:
    """Return figures that any change of the model moves."""
    batch = Collator(tiny.make_processor())([sample(0)])
    losses = Objective(model).eval()(batch)
    return {"lm": float(losses["lm"]), "score": float(losses["score"])}


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(make_run(Path(sys.argv[1]), *sys.argv[2:]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
