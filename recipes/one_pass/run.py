"""The decisive experiment of docs/one_pass.md: how a model that writes lists is best asked what is where.

    python recipes/one_pass/run.py --out OUT

Draws scenes, trains one model per style of lists and measures all ways of reading them. What is there already is not
made again, so a stopped run goes on. A process per style (`--style`) may train beside the others; the table is made by
the run that gets no style.
"""

import argparse
import logging
from functools import cache
from pathlib import Path
from typing import get_args

import torch
from crowds import Crowd, crowds, vocabulary
from measure import report
from train import Style, build_model, build_processor, run_of

from fo1.pipeline.engine import Engine
from fo1.training.run import learned_model, run

TRAINING, VALIDATION, TEST = (2, 800), (3, 40), (4, 120)
"""(seed, scenes)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=(300, 700), help="copying, seeing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--style", choices=get_args(Style), help="train this one and stop")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    processor, names = build_processor(), vocabulary()
    encoder = build_model(args.seed).eval()

    @cache
    def scenes(seed: int, count: int) -> list[Crowd]:
        return crowds(count, seed, encoder, processor, args.out / "scenes")

    runs = {
        style: run_of(
            lambda: scenes(*TRAINING),
            names,
            style,
            args.out / style.replace(" ", "-"),
            processor,
            tuple(args.steps),
            args.seed,
        )
        for style in ([args.style] if args.style else get_args(Style))
    }
    for given in runs.values():
        run(given)
    if not args.style:
        validation, test = scenes(*VALIDATION), scenes(*TEST)
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
        engines = {
            style: Engine(style, learned_model(given), processor) for style, given in runs.items()
        }
        print(report(engines, names, validation, test))


if __name__ == "__main__":
    main()
