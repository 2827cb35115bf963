"""One drawn picture through a whole checkpoint: do the figures look like those of a model?

Legend: N regions, T image tokens, P prompt tokens, D language width, V vocabulary.
"""

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fo1.layout import question_branch, scene_prefix
from fo1.models.checkpoints.verification.findings import Finding, Status, some
from fo1.models.encoding import RegionEmbeddings
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor
from fo1.models.tensor_files import TensorInfo, main_dtype
from fo1.prompts import detect

BOXES = ((30.0, 40.0, 120.0, 130.0), (170.0, 60.0, 300.0, 190.0), (20.0, 160.0, 150.0, 230.0))
NEW_TOKENS = 16
LEAST_SPREAD = 1e-3
RATIO = (1e-3, 1e3)
ENTROPY = (1e-4, 0.99)
WORK_BYTES = 1_000_000_000
MARGIN = 1.1
"""Weights take this much of their size while they are read; see docs/log.md."""


def try_picture(
    folder: Path,
    stored: Collection[TensorInfo],
    device: torch.device,
    statistics: dict[str, float | str],
) -> Iterator[Finding]:
    """Yield what one forward pass and a short answer look like; runs only if memory suffices.

    Args:
        folder: of the checkpoint.
        stored: its tensors.
        device: where it runs.
        statistics: receives the figures.
    """
    # float16, which some models would overflow, is run in float32.
    dtype = torch.bfloat16 if main_dtype(stored) is torch.bfloat16 else torch.float32
    needed = int(sum(info.elements for info in stored) * dtype.itemsize * MARGIN) + WORK_BYTES
    told = f"needs about {needed / 1e9:.1f} GB"
    have = []
    # It is read into the CPU's memory first, wherever it runs.
    for place in dict.fromkeys((torch.device("cpu"), device)):
        free = free_bytes(place)
        known = "an unknown amount is" if free is None else f"{free / 1e9:.1f} GB are"
        have.append(f"{known} free on {place}")
        if free is not None and free < needed:
            detail = f"not tried: {told}, {have[-1]}; run it on a larger machine"
            yield Finding.of("memory", Status.NOTE, detail)
            return
    run = f"{str(dtype).split('.')[1]} on {device}"
    yield Finding.of("memory", Status.OK, f"{told}, {', '.join(have)}; {run}")
    model = FO1ForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
    processor = FO1Processor.from_pretrained(folder)
    broken = [n for n, tensor in model.state_dict().items() if not _finite(tensor)]
    if broken:
        detail = f"{len(broken)} tensors are not finite: {some(broken)}; download again"
        yield Finding.of("numbers", Status.FAIL, detail)
        return
    yield Finding.of("numbers", Status.OK, "all weights are finite")
    with torch.inference_mode():
        yield from _run(model, processor, statistics)


def draw_picture() -> Image.Image:
    """Return the picture that is tried, 320 x 240: a soft background with three shapes."""
    rows, columns = np.mgrid[0:240, 0:320]
    shades = np.stack([120 + columns // 4, 200 - rows // 4, 150 + (rows + columns) // 8], axis=-1)
    picture = Image.fromarray(shades.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    pen.ellipse(BOXES[0], fill=(245, 140, 20))
    pen.rectangle(BOXES[1], fill=(40, 60, 190))
    pen.polygon([(20, 230), (85, 160), (150, 230)], fill=(30, 150, 60))
    return picture


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory is free on a device; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _run(
    model: Any, processor: FO1Processor, statistics: dict[str, float | str]
) -> Iterator[Finding]:
    """Yield a finding for each station on the way from pixels to words."""
    prompt = scene_prefix(len(BOXES)) + question_branch(detect(["circle"]))
    inputs = processor(images=[draw_picture()], boxes=[BOXES], text=prompt).to(model.device)
    encoding = model.encode_images(inputs)
    words = model.get_input_embeddings().weight
    tokens = encoding.host.tokens[0].float()
    spread = float(tokens.std(0).norm() / tokens.norm(dim=-1).mean())
    statistics |= {"image_tokens": len(tokens), "image_token_spread": spread}
    if _all_finite("image tokens", tokens, found := []):
        told = f"{len(tokens)} tokens, spread {spread:.3g} of their length"
        found.append(_bound("image tokens", spread > LEAST_SPREAD, told, "they are all the same"))
    yield from found

    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    yield from _judge_regions(regions, words, statistics)

    given = {
        "encoding": encoding,
        "regions": regions,
        **{name: inputs[name] for name in model.family.image_inputs if "pixel" not in name},
    }
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    logits = model(ids, mask, **given).logits[0].float()
    if not _all_finite("logits", logits, found := []):
        yield from found
        return
    shares = logits.log_softmax(-1)
    entropy = float(-(shares.exp() * shares).sum(-1).mean()) / math.log(logits.shape[-1])
    statistics |= {"logit_std": float(logits.std()), "entropy": entropy}
    told = f"entropy {entropy:.3g} of the greatest possible, spread {logits.std():.3g}"
    why = f"need {ENTROPY[0]} to {ENTROPY[1]}: the model does not tell words apart"
    yield _bound("logits", ENTROPY[0] < entropy < ENTROPY[1], told, why)

    written = model.generate(ids, mask, **given, max_new_tokens=NEW_TOKENS, do_sample=False)
    answer = processor.tokenizer.decode(written[0, ids.shape[1] :])
    statistics["answer"] = answer
    yield Finding.of("answer", Status.NOTE, f"to {detect(['circle'])!r}: {answer!r}")


def _judge_regions(
    regions: RegionEmbeddings, words: Tensor, statistics: dict[str, float | str]
) -> Iterator[Finding]:
    """Yield whether three different boxes give three different vectors of a sane length."""
    vectors = regions.embeddings.float()
    found: list[Finding] = []
    if not _all_finite("regions", vectors, found):
        yield from found
        return
    spread = float(torch.pdist(vectors).min() / vectors.norm(dim=-1).mean().clamp(min=1e-30))
    used = words[words.any(-1)].float().norm(dim=-1).mean()
    ratio = float(vectors.norm(dim=-1).mean() / used)
    statistics |= {"region_spread": spread, "region_to_word_ratio": ratio}
    told = f"nearest two of {len(vectors)} differ by {spread:.3g} of their length"
    why = "different boxes give the same vector; is the region projector trained?"
    yield _bound("regions", spread > LEAST_SPREAD, told, why)
    told = f"region vectors are {ratio:.3g} times as long as word vectors"
    yield _bound("ratio", RATIO[0] < ratio < RATIO[1], told, f"need {RATIO[0]} to {RATIO[1]}")


def _bound(name: str, well: bool, told: str, why: str) -> Finding:
    return Finding.of(name, Status.OK if well else Status.FAIL, told if well else f"{told}; {why}")


def _all_finite(name: str, tensor: Tensor, found: list[Finding]) -> bool:
    """Return whether all is finite; if not, say so."""
    if not (well := _finite(tensor)):
        share = float((~tensor.isfinite()).float().mean())
        found.append(Finding.of(name, Status.FAIL, f"{share:.1%} are not finite; download again"))
    return well


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
