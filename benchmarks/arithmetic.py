"""Prints what cheaper arithmetic saves and what it changes, part by part, against float32 in the same run.

    OMP_NUM_THREADS=1 python benchmarks/arithmetic.py [--scenes 20] [--repeats 7] [--no-large] [--no-compile]

First nano: a first question (five names, 50 proposals of a 640 x 480 photograph) with one part at a time in bfloat16,
in int8, or with channels first. Probabilities are compared pair by pair on the same boxes: `change` is the
mean and the largest difference over the example photographs, and over drawn scenes (true and distractor boxes, the
names of the scene and ten more). `AP` is that of `fo1 eval scenes`, own proposals.
Then the language models of nano and of benchmarks/one_pass.py (275 M random weights): a prefix, branches behind it, and
one step of decoding, with the change of the last hidden state as a share of its spread. Last, two compiled modules.
Times are the best of alternating runs, since another load on the machine only adds to them.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from end_to_end import NAMES, PHOTOS, ask, open_pictures
from one_pass import large_model
from torch import Tensor, nn
from transformers import DynamicCache

from fo1 import FO1
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks.scenes import Scenes
from fo1.pipeline.loading import packaged_folder
from fo1.proposals.combining import UnionProposer
from fo1.proposals.detector import NanoDetProposer, SSDProposer

PREFIX, BRANCHES = 272, 64
LANGUAGE = ("language prefix", "branches and score head")
COLUMNS = {
    "propose": ("propose",),
    "auxiliary": ("auxiliary encoder",),
    "host": ("host vision", "pyramid"),
    "language": LANGUAGE,
}


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, a scale per output, and bfloat16 inside: torch's built-in kernel."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-8) / 127
        self.weight = (weight / scale[:, None]).round().to(torch.int8)
        self.scale, self.bias = scale.to(torch.bfloat16), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        made = torch._weight_int8pack_mm(rows, self.weight, self.scale).to(x.dtype)
        made = made.view(*x.shape[:-1], -1)
        return made if self.bias is None else made + self.bias


def int8_weights(module: nn.Module) -> nn.Module:
    """Replace the linear layers below a module, and return it."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            int8_weights(child)
    return module


def int8_dynamic(module: nn.Module) -> nn.Module:
    """Return a module whose linear layers quantise weights once and inputs each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


def bfloat16(module: nn.Module) -> nn.Module:
    """Cast a module, and return it."""
    return module.to(torch.bfloat16)


@dataclass
class Way:
    """A model with other arithmetic.

    Attributes:
        model: nano, changed.
        around: what is different while it runs.
        first: seconds of its first question, compilation included.
    """

    name: str
    model: FO1
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    rows: list[dict[str, float]] = field(default_factory=list)
    first: float = 0.0


def channels_first() -> AbstractContextManager[Any]:
    """Return a context in which pixels stay as they are."""
    stack = ExitStack()
    for name in ("efficientnet", "nanodet", "ssd"):
        stack.enter_context(patch(f"fo1.models.{name}.channels_last", lambda pixels: pixels))
    return stack


def make_ways() -> list[Way]:
    """Return float32 first, then one change each."""
    base = FO1.from_pretrained()
    proposer = base.get_proposer(limit=100)

    def fresh(**options: Any) -> FO1:
        return FO1.from_pretrained(proposer=proposer, **options)

    def language(change: Callable[[nn.Module], nn.Module]) -> FO1:
        model = fresh()
        inner = model.engine.model.vlm.model
        inner.language_model = change(inner.language_model)
        return model

    def auxiliary(change: Callable[[nn.Module], nn.Module], *parts: str) -> FO1:
        model = fresh()
        encoder = model.engine.model.region_encoder.auxiliary
        for part in parts:
            setattr(encoder, part, change(getattr(encoder, part)))
        return model

    def proposers() -> FO1:
        nanodet, ssd = (copy.deepcopy(one.model) for one in proposer.proposers)
        cast = UnionProposer((NanoDetProposer(bfloat16(nanodet)), SSDProposer(bfloat16(ssd))))
        return FO1(base.engine, packaged_folder(), proposer=cast)

    return [
        Way("float32, as shipped", fresh()),
        Way("channels first", fresh(), channels_first),
        Way("bfloat16: proposers", proposers()),
        Way("bfloat16: auxiliary encoder", auxiliary(bfloat16, "classifier", "detector")),
        Way("bfloat16: language model", language(bfloat16)),
        Way("`dtype=torch.bfloat16`", fresh(dtype=torch.bfloat16)),
        Way("int8 weights: language model", language(int8_weights)),
        Way("int8 dynamic: language model", language(int8_dynamic)),
    ]


def probabilities(
    way: Way, asked: Sequence[tuple[Any, Any, Sequence[str]]]
) -> list[npt.NDArray[Any]]:
    """Return (N, K) per picture with its boxes and names."""
    with way.around():
        return [
            way.model.engine.match([way.model.encode(image, boxes).tensors], names)[0]
            for image, boxes, names in asked
        ]


def nano(options: argparse.Namespace) -> None:
    """Print the table of the packaged model."""
    ways = make_ways()
    (image, *_) = images = open_pictures(sorted(PHOTOS.glob("*.jpg")), (640, 480))
    for way in ways:
        begun = time.perf_counter()
        with way.around():
            ask(way.model, image, list(NAMES[:5]), 50)
        way.first = time.perf_counter() - begun
    for _ in range(options.repeats + 1):
        for way in ways:
            with way.around():
                way.rows.append(ask(way.model, image, list(NAMES[:5]), 50))
    task = Scenes.load().first(options.scenes)
    photos = [(one, ways[0].model.propose(one, limit=50).boxes, NAMES) for one in images]
    drawn = [
        (example.open(), example.boxes, sorted({*task.names[:10], *example.truth.names}))
        for example in task.examples
        if example.boxes is not None
    ]
    expected = probabilities(ways[0], photos), probabilities(ways[0], drawn)
    print(
        f"| nano | {' | '.join(f'{name} ms' for name in COLUMNS)} | whole ms | times | first s "
        "| change, photographs | change, scenes | AP | AP50 |"
    )
    print("|---" * (len(COLUMNS) + 8) + "|")
    base = min(sum(row.values()) for row in ways[0].rows[1:])
    for way in ways:
        rows = way.rows[1:]
        cells = [
            f"{1000 * min(sum(row[part] for part in parts) for row in rows):.1f}"
            for parts in COLUMNS.values()
        ]
        whole = min(sum(row.values()) for row in rows)
        cells += [f"{1000 * whole:.1f}", f"{base / whole:.2f}", f"{way.first:.1f}"]
        cells += [
            change(before, probabilities(way, pictures))
            for before, pictures in zip(expected, (photos, drawn), strict=True)
        ]
        with way.around():
            figures = evaluate(way.model, task, resamples=10).figures
        cells += [
            f"{figures[f'own proposals, detection: {name}'].value:.2f}" for name in ("AP", "AP50")
        ]
        print(f"| {way.name} | {' | '.join(cells)} |", flush=True)


def change(before: Sequence[npt.NDArray[Any]], after: Sequence[npt.NDArray[Any]]) -> str:
    """Return the mean and the largest difference."""
    gaps = np.concatenate([abs(a - b).ravel() for a, b in zip(before, after, strict=True)])
    return f"{gaps.mean():.1e}, {gaps.max():.1e}"


@torch.inference_mode()
def language(name: str, decoder: Any, repeats: int) -> None:
    """Print the table of a language model."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 1000, (1, PREFIX + BRANCHES), generator=generator)
    ways: dict[str, Any] = {
        "float32": decoder,
        "bfloat16": bfloat16(copy.deepcopy(decoder)),
        "int8 weights": int8_weights(copy.deepcopy(decoder)),
        "int8 weights, bfloat16": bfloat16(int8_weights(copy.deepcopy(decoder))),
        "int8 dynamic": int8_dynamic(copy.deepcopy(decoder)),
    }
    times: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    states: dict[str, Tensor] = {}
    for _ in range(repeats + 1):
        for way, model in ways.items():
            cache = DynamicCache(config=model.config)
            clock = [time.perf_counter()]
            for first, last in ((0, PREFIX), (PREFIX, PREFIX + BRANCHES - 1), (-1, None)):
                states[way] = model(
                    input_ids=ids[:, first:last], past_key_values=cache, use_cache=True
                ).last_hidden_state
                clock.append(time.perf_counter())
            times[way].append(tuple(b - a for a, b in pairwise(clock)))
    count = sum(p.numel() for p in decoder.parameters())
    print(
        f"\n| {name}, {count / 1e6:.1f} M | {PREFIX} tokens ms | times | {BRANCHES - 1} more ms | times "
        "| one step ms | times | first s | change of the state |\n" + "|---" * 9 + "|"
    )
    exact = states["float32"].float()
    best = {
        way: [min(column) for column in zip(*rows[1:], strict=True)] for way, rows in times.items()
    }
    for way, columns in best.items():
        cells = [
            cell
            for own, base in zip(columns, best["float32"], strict=True)
            for cell in (f"{1000 * own:.1f}", f"{base / own:.2f}")
        ]
        off = float((states[way].float() - exact).std() / exact.std())
        print(f"| {way} | {' | '.join(cells)} | {sum(times[way][0]):.1f} | {off:.1e} |", flush=True)


@torch.inference_mode()
def compiled(repeats: int) -> None:
    """Print what `torch.compile` takes and gives, shapes left open after the first."""
    model = FO1.from_pretrained().engine.model
    encoder, decoder = model.region_encoder.auxiliary, model.vlm.model.language_model
    pixels = [torch.randn(1, 3, *size) for size in ((576, 768), (384, 512), (448, 768))]
    ids = [torch.randint(10, 1000, (1, count)) for count in (272, 64, 200)]
    print(
        "\n| compiled | shape | first s | eager ms | compiled ms | times |\n|---|---|---|---|---|---|"
    )
    for name, module, inputs in (
        ("classifier", encoder.classifier, pixels),
        ("language", decoder, ids),
    ):
        quick = torch.compile(module)
        for own in inputs:
            begun = time.perf_counter()
            quick(own)
            first = time.perf_counter() - begun
            eager, fast = ([] for _ in range(2))
            for _ in range(repeats):
                for taken, run in ((eager, module), (fast, quick)):
                    begun = time.perf_counter()
                    run(own)
                    taken.append(time.perf_counter() - begun)
            slow, done = 1000 * min(eager), 1000 * min(fast)
            shape = " x ".join(map(str, own.shape))
            print(
                f"| {name} | {shape} | {first:.1f} | {slow:.1f} | {done:.1f} | {slow / done:.2f} |",
                flush=True,
            )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-large", action="store_true", help="nano alone")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    print(
        f"{datetime.date.today()}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, best of {options.repeats}, "
        f"{options.scenes} scenes\n"
    )
    nano(options)
    small = FO1.from_pretrained().engine.model.vlm.model.language_model
    language("nano", small, options.repeats)
    if not options.no_large:
        language("random", large_model().vlm.model.language_model, options.repeats)
    if not options.no_compile:
        compiled(options.repeats)


if __name__ == "__main__":
    main()
