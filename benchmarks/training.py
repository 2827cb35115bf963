"""Training speed: the collator, and whole steps with samples packed or apart, against the matrix rate of the machine.

    OMP_NUM_THREADS=2 python benchmarks/training.py

Real tokens are counted, not padding. FLOPs of a step are 6 x parameters of the language model x tokens, as if every
token reached the vocabulary; attention and vision encoders are not counted, so the share is an estimate. Samples are
text conversations of very different lengths, which is what packing is for, and drawn pictures with regions.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fo1.data.collator import Collator
from fo1.data.sample import Dialogue, Query, Sample
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.pipeline.loading import packaged_folder
from fo1.training.objective import LM, SCORE, Objective
from fo1.training.stages import Stage, apply_stage

WORDS = [
    "a",
    "cup",
    "on",
    "the",
    "table",
    "beside",
    "an",
    "old",
    "red",
    "car",
    "and",
    "two",
    "small",
    "dogs",
    "under",
    "a",
    "green",
    "tree",
]


def make_samples(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(np.exp(rng.uniform(np.log(8), np.log(400))))
        answer = " ".join(rng.choice(WORDS, length))
        dialogue = Dialogue((("Tell me something.", answer),), "general")
        if number % 2:
            made.append(Sample(f"text{number}", (), (), (), (dialogue,)))
            continue
        image = Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
        corner = rng.random((20, 2)) * 150
        boxes = np.concatenate([corner, corner + 40], 1).astype(np.float32)
        queries = tuple(Query(n, rng.integers(0, 2, 20).astype(np.float32)) for n in ("cup", "dog"))
        made.append(
            Sample(
                key=f"scene{number}",
                images=(image,),
                boxes=(boxes,),
                queries=queries,
                dialogues=(dialogue,),
                features=torch.zeros(20, 0),
            )
        )
    return made


def matrix_rate(width: int, rows: int, seconds: float = 1.0) -> float:
    """Return FLOP/s of float32 matrix products as large as those of a step."""
    a, b = torch.randn(rows, width), torch.randn(width, 4 * width)
    torch.mm(a, b)
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        torch.mm(a, b)
        done += 1
    return 2 * rows * width * 4 * width * done / (time.perf_counter() - begun)


def measure(objective: Objective, batch, optimizer, repeats: int) -> float:
    """Return the median seconds of a whole step."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        losses = objective(batch)
        (losses[LM] + losses.get(SCORE, 0.0)).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begun)
    return float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pack-to", type=int, default=1024)
    parser.add_argument("--model", type=Path, default=packaged_folder())
    args = parser.parse_args()
    torch.manual_seed(0)
    processor = FO1Processor.from_pretrained(args.model)
    model = FO1ForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).train()
    width = model.region_encoder.auxiliary.width
    samples = [
        s
        if s.features is None
        else Sample(
            **{f: getattr(s, f) for f in Sample.__slots__} | {"features": torch.randn(20, width)}
        )
        for s in make_samples(args.samples)
    ]
    rates = dict.fromkeys(("regions", "score_head", "language_model"), 1e-5)
    stage = Stage(name="all", learns=rates, steps=1)
    learning = apply_stage(model, stage)
    parameters = dict(model.named_parameters())
    count = sum(parameters[n].numel() for n, g in learning.items() if g == "language_model")
    optimizer = torch.optim.AdamW([parameters[name] for name in learning], lr=1e-5)
    hidden = model.config.get_text_config().hidden_size
    rate = matrix_rate(hidden, 2048)
    print(
        f"matrix rate {rate / 1e9:.1f} GFLOP/s (float32, {hidden} wide, {torch.get_num_threads()} threads); "
        f"{count / 1e6:.1f} M parameters in the language model"
    )
    print(
        "| rows | collator samples/s | rows x tokens | real tokens | step ms | tokens/s | share of matrix rate |"
    )
    print("|---|---|---|---|---|---|---|")
    speeds = {}
    for name, pack_to in (("apart", None), ("packed", args.pack_to)):
        collate = Collator(processor, repeat_regions=model.config.repeat_regions, pack_to=pack_to)
        batch = collate(samples)
        begun = time.perf_counter()
        for _ in range(args.repeats):
            collate(samples)
        collated = args.repeats * len(samples) / (time.perf_counter() - begun)
        seconds = measure(Objective(model), batch, optimizer, args.repeats)
        tokens = int((batch.packed.scene >= 0).sum())
        speeds[name] = tokens / seconds
        share = 6 * count * tokens / seconds / rate
        rows, length = batch.packed.ids.shape
        print(
            f"| {name} | {collated:.0f} | {rows} x {length} | {tokens} | {seconds * 1e3:.0f} | "
            f"{speeds[name]:.0f} | {100 * share:.0f} % |"
        )
    print(f"\npacked / apart: {speeds['packed'] / speeds['apart']:.2f}")


if __name__ == "__main__":
    main()
