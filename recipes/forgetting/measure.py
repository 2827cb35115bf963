"""Measures the claims on the runs of train.py and prints the table of docs/claims.md.

python recipes/forgetting/measure.py --work work --out runs
"""

import argparse
import datetime
import json
import math
import platform
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from host import answers, load_language_model
from material import PROBE, is_right, ordinary_text
from torch.nn import functional as F
from train import Bench, add_arguments

from fo1.data.collator import Collator
from fo1.data.sample import Sample
from fo1.layout import Turn, build_prompt
from fo1.training.objective import LM, Objective
from fo1.training.run import learned_model

PIECE, PIECES = 256, 20
PROBE_TOKENS = 16
REPEATS = 4
"""Samples that are measured of each held-out scene."""


@torch.no_grad()
def text_losses(language: Any, pieces: list[list[int]], old: int) -> list[tuple[float, float]]:
    """Return per piece the mean next-token loss over the old vocabulary, and over all of it, new tokens included."""
    found: list[tuple[float, float]] = []
    for piece in pieces:
        ids = torch.tensor([piece])
        logits = language(input_ids=ids).logits[0, :-1].float()
        both = [float(F.cross_entropy(part, ids[0, 1:])) for part in (logits[:, :old], logits)]
        found.append((both[0], both[1]))
    return found


@torch.no_grad()
def prompt_logits(language: Any, tokenizer: Any, old: int) -> list[torch.Tensor]:
    """Return the logits of the old vocabulary on every question of the probe."""
    texts = [build_prompt(Turn("user", (question,))) for question, _ in PROBE]
    ids = [torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in texts]
    return [language(input_ids=one).logits[0, :, :old] for one in ids]


def exchanged(sample: Sample) -> Sample:
    """Return a sample in which every region carries what the encoder says of its neighbour."""
    features = sample.features
    return sample if features is None else replace(sample, features=features.roll(1, 0))


@torch.no_grad()
def region_losses(model: Any, collator: Collator, samples: list[Sample]) -> dict[str, float]:
    """Return the mean loss of an answer's token on held-out scenes, by task and over all."""
    objective = Objective(model).eval()
    sums, counts = defaultdict[str, float](float), defaultdict[str, float](float)
    for sample in samples:
        batch = collator([sample])
        for name, value in objective(batch).items():
            sums[name] += float(value)
        for name, value in objective.counts(batch).items():
            counts[name] += value
    return {name: sums[name] / counts[name] for name in sorted(sums) if counts[name]}


def spread(values: list[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def models(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Return the models one after another, by what has been done to them."""
    yield "assembled", bench.base[0]
    yield "stage 1", bench.aligned()
    yield "stage 2, scenes alone", learned_model(bench.run_of("without"))
    yield "stage 2, with general data", learned_model(bench.run_of("with"))


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Return a row of figures per model; the first is the untouched language model."""
    tokenizer = bench.base[1].tokenizer
    own = load_language_model(bench.work / "lm")
    old = own.config.vocab_size
    ids = tokenizer(ordinary_text(), add_special_tokens=False)["input_ids"][: PIECE * PIECES]
    pieces = [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]
    drawer = bench.drawer(("held_out",), {})
    held = len(drawer.mixture.sources[0].records)
    samples = [drawer.sample(index) for index in range(REPEATS * held)]
    collator = Collator(bench.base[1])
    questions = [question for question, _ in PROBE]
    rows: list[dict[str, Any]] = []
    first: list[tuple[float, float]] = []
    before: dict[str, list[torch.Tensor]] = {}

    def add(name: str, language: Any, model: Any) -> None:
        losses = text_losses(language, pieces, old)
        first.extend(losses if not first else [])
        told = answers(language, tokenizer, questions, PROBE_TOKENS)
        right = [is_right(t, e) for t, (_, e) in zip(told, PROBE, strict=True)]
        logits = prompt_logits(language, tokenizer, old)
        difference, error = spread([a[0] - b[0] for a, b in zip(losses, first, strict=True)])
        row = {
            "model": name,
            "perplexity": math.exp(spread([one for one, _ in losses])[0]),
            "perplexity of all tokens": math.exp(spread([every for _, every in losses])[0]),
            "loss against untouched": [difference, error],
            "probe": sum(right),
            "right": "".join("x" if one else "." for one in right),
            "answers": told,
            "logits against": {
                other: max(float((a - b).abs().max()) for a, b in zip(logits, stored, strict=True))
                for other, stored in before.items()
            },
        }
        before[name] = logits
        if model is not None:
            row["regions"] = region_losses(model, collator, samples)
            row["regions exchanged"] = region_losses(
                model, collator, [exchanged(s) for s in samples]
            )
        rows.append(row)
        print(name, json.dumps({k: v for k, v in row.items() if k != "answers"}), flush=True)

    add("untouched", own, None)
    for name, model in models(bench):
        add(name, model.vlm, model)
    print(
        f"{len(pieces)} pieces, {len(ids)} tokens; {len(samples)} samples of {held} held-out scenes"
    )
    return rows


def table(runs: list[list[dict[str, Any]]]) -> str:
    """Return the rows of some seeds as one table of Markdown: means, and the figures of each seed behind them."""
    lines = [
        "| model | perplexity | over all tokens | loss against untouched | probe, right of "
        f"{len(PROBE)} | largest change of a logit | loss of region answers | with regions exchanged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows in zip(*runs, strict=True):
        losses = [row["loss against untouched"] for row in rows]
        each = ", ".join(f"{mean:+.3f} \u00b1 {error:.3f}" for mean, error in losses)
        changes = [row["logits against"].get("assembled") for row in rows]
        cells = [
            rows[0]["model"],
            _mean(rows, "perplexity"),
            _mean(rows, "perplexity of all tokens"),
            f"{sum(mean for mean, _ in losses) / len(losses):+.3f} ({each})",
            ", ".join(str(row["probe"]) for row in rows),
            "" if changes[0] is None else f"{max(changes):.3g}",
            *(
                _mean([row.get(name, {}) for row in rows], LM)
                for name in ("regions", "regions exchanged")
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(rows: Sequence[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if name in row]
    return f"{sum(values) / len(values):.3f}" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(Bench(args.work, args.out, args.steps, args.seed))
    file = args.out / f"seed{args.seed}" / "figures.json"
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    every = sorted(args.out.glob("seed*/figures.json"))
    print(f"means of {len(every)} seeds\n")
    print(table([json.loads(one.read_text(encoding="utf-8")) for one in every]))
    about = f"{platform.machine()}, one thread, torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {about}: python {shlex.join(sys.argv)}")


if __name__ == "__main__":
    main()
