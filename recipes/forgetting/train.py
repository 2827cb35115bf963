"""Trains what the claims are measured on: stage 1 once, then stage 2 without and with general data.

    python recipes/forgetting/train.py --work work --out runs

Measuring is `measure.py`. A run that ended is not repeated; a stopped one goes on.
"""

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from host import build

from fo1.data.collator import Collator
from fo1.data.drawer import Drawer
from fo1.data.mixture import Mixture, Source
from fo1.data.negatives import Vocabulary
from fo1.data.sampling import Sampling
from fo1.data.storage import RecordFile
from fo1.models import FO1ForConditionalGeneration
from fo1.training.feature_cache import FeatureCache
from fo1.training.recipe import Recipe
from fo1.training.run import Run, learned_model, run
from fo1.training.stages import Adapter, Stage, alignment

GENERAL_SHARE = 0.3
SAMPLING = Sampling(
    truth=1.0,
    jitter=0.05,
    distractors=2,
    most_regions=8,
    fewer_regions=False,
    positives=0,
    negatives=0,
    expressions=0,
    templates=False,
    dialogues=1,
    tasks={"detect": 1.0, "count": 1.0, "describe": 2.0, "refer": 1.0, "general": 1.0},
    variants=1,
)
"""Few regions and one dialogue a sample; no queries, for the model has no score head."""


def second_stage(steps: int, mixture: Mapping[str, float]) -> Stage:
    """Return stage 2 with adapters; both vision encoders stay frozen, for features are computed once.

    The adapters' rate is five times the recipes' own, so that a run this short moves the language model at all.
    """
    return Stage(
        name="perception",
        learns={"regions": 1e-4, "new_tokens": 1e-4, "adapters": 1e-3},
        steps=steps,
        batch=2,
        warmup=0.1,
        mixture=mixture,
        adapter=Adapter(rank=8, alpha=16),
    )


@dataclass(frozen=True, eq=False)
class Bench:
    """Where the runs of one command are, and what they share.

    Args:
        work: what prepare.py wrote.
        out: folder of the runs.
        steps: of each stage.
        seed: of everything that is drawn in training.
    """

    work: Path
    out: Path
    steps: int
    seed: int

    @cached_property
    def base(self) -> Any:
        """Model and processor before training; the model is not to be changed."""
        return build(self.work / "lm")

    def load(self) -> FO1ForConditionalGeneration:
        """Return the model before training, made anew."""
        return build(self.work / "lm")[0]

    def aligned(self) -> FO1ForConditionalGeneration:
        """Return the model after stage 1."""
        return learned_model(self.run_of("stage1"))

    def drawer(self, names: tuple[str, ...], mixture: Mapping[str, float]) -> Drawer:
        """Return what draws samples of the named sources."""
        files = {
            "scenes": self.work / "scenes/scenes.jsonl",
            "held_out": self.work / "scenes/held_out.jsonl",
            "general": self.work / "general.jsonl",
        }
        records = {name: RecordFile(files[name]) for name in names}
        sources = [Source(name, own, len(own)) for name, own in records.items()]
        return Drawer(
            Mixture(sources, dict(mixture) or None),
            SAMPLING,
            self.seed,
            {name: Vocabulary.of(own) for name, own in records.items()},
            FeatureCache(lambda: self.base[0], self.base[1], self.out / "features"),
        )

    def run_of(self, name: str) -> Run:
        """Return the run "stage1", "without" or "with" general data."""
        mixed = {"scenes": 1 - GENERAL_SHARE, "general": GENERAL_SHARE} if name == "with" else {}
        stage = second_stage(self.steps, mixed)
        if name == "stage1":
            stage = alignment(self.steps, 2, warmup=0.1)
        recipe = Recipe(
            name=f"claims-{name}",
            stages=(stage,),
            sampling=SAMPLING,
            micro_batch=2,
            held_out=0.0,
            save_every=1000,
            seed=self.seed,
        )
        drawer = self.drawer(("scenes", "general") if mixed else ("scenes",), mixed)
        return Run(
            recipe=recipe,
            load=self.load if name == "stage1" else self.aligned,
            processor=self.base[1],
            draw=lambda _: drawer.sample,
            collator=Collator(self.base[1]),
            out=self.out / f"seed{self.seed}" / name,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what train.py and measure.py are both told."""
    parser.add_argument("--work", type=Path, required=True, help="what prepare.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=120, help="of each stage")
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bench = Bench(args.work, args.out, args.steps, args.seed)
    for name in ("stage1", "without", "with"):
        begun = time.monotonic()
        run(bench.run_of(name))
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
