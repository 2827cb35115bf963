"""What one pass saves, and what asking again costs.

    OMP_NUM_THREADS=2 python benchmarks/one_pass.py            # a random language model of about 270 M parameters
    OMP_NUM_THREADS=2 python benchmarks/one_pass.py --nano     # the packaged model

First: K names among N regions, answered three ways by one model, in one run:

    one pass     prefix, then all names as branches behind it; the score head reads every pair (what `detect` does)
    batch        the prefix once, its cache repeated for K requests, each decoded until its own list ends; a request is
                 the question that models are trained on, and its answer begins with the name
    bare batch   the same without question and name: every request is an opened list, which no protocol knows
    list         greedy decoding with a key-value cache, one question, one answer with all names, a token a step
    bare list    the same without the question

What is written is given, not chosen: weights are random, and the time of a step does not depend on them. Half of the
names are absent and answered by "none", the others by five regions. "With vision" adds the encoders and the regions,
which all ways share. Then: a second question on the same scene, and new boxes.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fo1 import FO1, prompts
from fo1.layout import query_branch, question_branch
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor
from fo1.models.prefix import Prefix
from fo1.pipeline.engine import QUERIES_PER_PASS, Engine
from fo1.pipeline.loading import packaged_folder
from fo1.pipeline.rows import SceneTensors
from fo1.tags import NONE_TEXT, OBJECTS_CLOSE, region_token

NAMES = (
    *("cat", "dog", "cup", "red car", "wooden chair", "traffic light", "old man", "green bottle"),
    *("keyboard", "potted plant", "wine glass", "laptop", "bicycle", "bench", "clock", "umbrella"),
)
PRESENT = 5
"""Regions of a name that is there."""


def large_model() -> FO1ForConditionalGeneration:
    """Return nano with another language model: 24 layers of width 1,024, random weights."""
    config = copy.deepcopy(FO1Config.from_pretrained(packaged_folder()))
    text = config.vlm_config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 1024, 2816, 24
    text.num_attention_heads, text.num_key_value_heads = 16, 4
    text.layer_types = ["full_attention"] * text.num_hidden_layers
    config.vlm_config.vision_config.out_hidden_size = text.hidden_size
    config.region_config.output_width = text.hidden_size
    torch.manual_seed(0)
    return FO1ForConditionalGeneration(config).eval()


def median(run: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


@torch.inference_mode()
def write_list(
    engine: Engine, prefix: Prefix, question: Sequence[int], answer: Sequence[int]
) -> None:
    """Read a question, then decode one answer, a token a step."""
    cache = prefix.fork()
    model = engine.model
    place = 0
    for tokens in (question, *([token] for token in answer[:-1])):  # nothing follows the last one
        steps = torch.arange(place, place + len(tokens))[None]
        place += len(tokens)
        model.vlm(
            input_ids=torch.tensor([list(tokens)]),
            attention_mask=torch.ones(1, len(prefix) + place, dtype=torch.long),
            position_ids=prefix.positions(steps),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits.argmax(-1)


@torch.inference_mode()
def write_batch(
    engine: Engine,
    prefix: Prefix,
    requests: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
) -> None:
    """Decode K answers side by side, rows leave when they end."""
    width = max(map(len, requests))
    rows = list(range(len(requests)))
    ids = torch.tensor([[0] * (width - len(one)) + list(one) for one in requests])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in requests])
    mask = torch.cat([torch.ones(len(rows), len(prefix), dtype=torch.long), mask], dim=1)
    cache = prefix.fork(len(rows))
    lengths = torch.tensor(list(map(len, requests)))
    steps = (mask[:, len(prefix) :].cumsum(-1) - 1).clamp(min=0)
    count = 0
    while True:
        engine.model.vlm(
            input_ids=ids,
            attention_mask=mask,
            position_ids=prefix.positions(steps),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits.argmax(-1)
        kept = [place for place, row in enumerate(rows) if len(answers[row]) > count + 1]
        if not kept:
            return
        if len(kept) < len(rows):
            cache.batch_select_indices(torch.tensor(kept))
            mask = mask[kept]
            rows = [rows[place] for place in kept]
        ids = torch.tensor([[answers[row][count]] for row in rows])
        steps = (lengths[rows] + count)[:, None]
        mask = torch.cat([mask, torch.ones(len(rows), 1, dtype=torch.long)], dim=1)
        count += 1


def answers_of(processor: FO1Processor, names: int, regions: int) -> list[list[int]]:
    """Return what stands behind each opened list: five regions, or "none" for every other name."""
    rng = np.random.default_rng(0)
    written: list[list[int]] = []
    for number in range(names):
        chosen = sorted(rng.choice(regions, min(PRESENT, regions), replace=False).tolist())
        inner = "".join(map(region_token, chosen)) if number % 2 else NONE_TEXT
        written.append(processor.token_ids(f"{inner}{OBJECTS_CLOSE}"))
    return written


def compare(
    engine: Engine, scene: SceneTensors, names: Sequence[str], repeats: int, vision: float
) -> None:
    """Print the ways of answering; `vision` are the seconds of encoding, which none of them counts."""
    processor, regions = engine.processor, tuple(range(len(scene)))
    opened = [processor.token_ids(query_branch(name)) for name in names]
    lists = answers_of(processor, len(names), len(scene))
    asked = [processor.token_ids(question_branch(prompts.detect([name]))) for name in names]
    question = processor.token_ids(question_branch(prompts.detect(names)))
    told = [[*own, *regions] for own, regions in zip(opened, lists, strict=True)]
    whole = [token for own in told for token in own]

    def make_prefix() -> Prefix:
        engine.memory.forget(scene, scene.picture)
        with torch.inference_mode():
            return engine._prefix(scene, regions)

    def one_pass() -> None:
        make_prefix()
        engine.match([scene], names)

    def fed(*parts: Sequence[Sequence[int]]) -> int:
        return sum(len(one) for part in parts for one in part)

    prefix, count = make_prefix(), len(names)
    rows = {
        "one pass": (one_pass, repeats, -(-count // QUERIES_PER_PASS), fed(opened)),
        "batch": (
            lambda: write_batch(engine, make_prefix(), asked, told),
            repeats,
            max(map(len, told)),
            fed(asked, told) - count,
        ),
        "bare batch": (
            lambda: write_batch(engine, make_prefix(), opened, lists),
            repeats,
            max(map(len, lists)),
            fed(opened, lists) - count,
        ),
        "list": (
            lambda: write_list(engine, make_prefix(), question, whole),
            1,
            len(whole),
            len(question) + len(whole) - 1,
        ),
        "bare list": (
            lambda: write_list(engine, make_prefix(), whole[:1], whole[1:]),
            1,
            len(whole) - 1,
            len(whole) - 1,
        ),
    }
    own = 0.0
    print(f"\n{count} names x {len(scene)} regions, prefix of {len(prefix)} tokens\n")
    print(
        "| way | passes behind the prefix | tokens fed | seconds | times one pass | with vision, times |"
    )
    print("|---|---|---|---|---|---|")
    for name, (run, times, passes, tokens) in rows.items():
        seconds = median(run, times)
        own = own or seconds
        whole_ratio = (seconds + vision) / (own + vision)
        cells = (name, str(passes), str(tokens), f"{seconds:.2f}", f"{seconds / own:.1f}")
        print(f"| {' | '.join(cells)} | {whole_ratio:.1f} |", flush=True)


def ask_again(model: FO1, image: Image.Image, count: int, repeats: int) -> None:
    """Print what a second question and new boxes cost of a first question, proposals included in it."""
    names, others = ["cup", "dog", "chair", "car", "book"], ["cat", "lamp", "bird", "tree", "door"]
    shares: list[tuple[float, float, float, float]] = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        proposals = model.propose(image, limit=count)
        proposed = time.perf_counter()
        scene = model.encode(image, proposals)
        scene.detect(names)
        first = time.perf_counter()
        scene.detect(others)
        second = time.perf_counter()
        boxes = np.clip(proposals.boxes + 3, 0, [image.width, image.height] * 2).astype(np.float32)
        begun_again = time.perf_counter()
        model.encode(scene, boxes).detect(names)
        shares.append(
            (proposed - begun, first - begun, second - first, time.perf_counter() - begun_again)
        )
    propose, whole, again, boxes_again = (
        statistics.median(row) for row in zip(*shares[1:], strict=True)
    )
    print(f"\n{count} regions, {image.width} x {image.height}, five names a question\n")
    print("| what | seconds | share of the first question |")
    print("|---|---|---|")
    for what, seconds in (
        ("first question: proposals, encoding, answer", whole),
        ("of it proposals", propose),
        ("second question", again),
        ("the same question on as many new boxes", boxes_again),
    ):
        print(f"| {what} | {seconds:.3f} | {100 * seconds / whole:.1f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nano", action="store_true", help="the packaged model")
    parser.add_argument("--names", type=int, default=80)
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=Path("examples/photos/coffee.jpg"))
    options = parser.parse_args()
    image = Image.open(options.picture).convert("RGB")
    model = FO1.from_pretrained()
    if not options.nano:
        engine = Engine("random", large_model(), model.engine.processor, model.engine.lexicon)
        model = FO1(engine, packaged_folder(), proposer="grid")
    language = sum(p.numel() for p in model.engine.model.vlm.get_decoder().parameters())
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {language / 1e6:.1f} M parameters"
    )
    boxes = model.propose(image, proposer="grid", limit=options.regions)
    vision = median(lambda: model.encode(image, boxes), options.repeats)
    scene = model.encode(image, boxes)
    names = [
        f"{NAMES[n % len(NAMES)]} {n // len(NAMES) or ''}".strip() for n in range(options.names)
    ]
    compare(model.engine, scene.tensors, names, options.repeats, vision)
    ask_again(model, image, options.regions, options.repeats)


if __name__ == "__main__":
    main()
