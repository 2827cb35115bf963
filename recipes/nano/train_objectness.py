"""Trains the objectness head on drawn scenes, on the maps of the frozen classifier.

    python recipes/nano/train_objectness.py --out FILE

Scenes are drawn while it learns, each seen at one of the sizes at which the classifier sees pictures, and nothing else
is used: no photograph takes part. A stopped run goes on at its last checkpoint.
"""

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from cache_scenes import frozen_encoder
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from fo1.data.pictures import PicturePack
from fo1.data.scenes import SceneGenerator
from fo1.models.light_encoder import LightEncoder, resize
from fo1.models.objectness import STRIDES, ObjectnessHead, cell_centres
from fo1.models.processing import make_auxiliary_processor

REACH = ((0.0, 8.0), (4.0, 8.0), (4.0, 1e9))
"""Per stride the long sides, in cells, of things that its cells answer for; the ranges overlap."""
MIDDLE = 0.3
"""Share of a thing's sides around its middle in which cells answer for it."""
RATE = 2e-3


def assign(boxes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Return (M,) the thing that each cell answers for, -1 for none; the smallest where there are several.

    Args:
        boxes: (K, 4) xyxy.
        centres: (M, 2).
        strides: (M,).
    """
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # Never less than a cell, or else small things had none.
    reach = torch.maximum(MIDDLE * sides / 2, strides[:, None, None] / 2)
    near = ((centres[:, None] - middle).abs() <= reach).all(-1)
    inside = ((centres[:, None] > boxes[:, :2]) & (centres[:, None] < boxes[:, 2:])).all(-1)
    cells = sides.amax(-1) / strides[:, None]
    level = torch.bucketize(strides, torch.tensor(STRIDES, dtype=strides.dtype))
    least, most = torch.tensor(REACH)[level].T[..., None]
    mine = near & inside & (cells >= least) & (cells <= most)
    area = torch.where(mine, sides.prod(-1), torch.inf)
    return torch.where(mine.any(1), area.argmin(1), -1)


def iou_of_pairs(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return (L,) IoU and generalised IoU (arXiv 1902.09630) of L pairs of boxes."""
    low, high = torch.maximum(ours[:, :2], theirs[:, :2]), torch.minimum(ours[:, 2:], theirs[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    either = sum((b[:, 2:] - b[:, :2]).prod(-1) for b in (ours, theirs)) - both
    low, high = torch.minimum(ours[:, :2], theirs[:, :2]), torch.maximum(ours[:, 2:], theirs[:, 2:])
    around = (high - low).prod(-1)
    iou = both / either
    return iou, iou - (around - either) / around


def losses_of(head: ObjectnessHead, maps: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
    """Return the loss of one picture: quality focal loss (arXiv 2006.04388) and generalised IoU, per answering cell."""
    logits, found = head(maps)
    centres, strides = cell_centres(tuple(m.shape[-2:] for m in maps), logits.device)
    owner = assign(boxes, centres, strides)
    mine = owner >= 0
    quality = torch.zeros_like(logits[0])
    placing = logits.sum() * 0
    if mine.any():
        iou, general = iou_of_pairs(found[0][mine], boxes[owner[mine]])
        quality[mine] = iou.detach()
        placing = (1 - general).sum()
    chance = logits[0].sigmoid()
    focal = F.binary_cross_entropy_with_logits(logits[0], quality, reduction="none")
    focal = (focal * (quality - chance.detach()).abs().square()).sum()
    return (focal + 2 * placing) / max(1, int(mine.sum()))


def view(
    encoder: LightEncoder, pixels: Tensor, side: int
) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    """Return the classifier's maps at `STRIDES` of a picture brought to a long side, and its (width, height) there."""
    resized = resize(pixels, side)
    height, width = resized.shape[-2:]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        levels = encoder.classifier(resized.contiguous(memory_format=torch.channels_last))
    chosen = [own for own, stride in zip(levels, encoder.strides, strict=True) if stride in STRIDES]
    return tuple(own.float() for own in chosen), (width, height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="safetensors file of the head")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    encoder = frozen_encoder()
    draw = SceneGenerator(PicturePack.open(), size=(320, 640))
    prepare = make_auxiliary_processor([127 / 255] * 3, [128 / 255] * 3)
    head = ObjectnessHead(tuple(c for s, c in encoder.classifier.config.levels if s in STRIDES))
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    kept, first = args.out.with_suffix(".checkpoint"), 0
    if kept.exists():
        state = torch.load(kept)
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    begun = time.monotonic()
    for step in range(first, args.steps):
        progress = step / args.steps
        for group in optimizer.param_groups:
            group["lr"] = (
                RATE * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * progress))
            )
        rng = np.random.default_rng([args.seed, step])
        total = 0.0
        for place in range(args.batch):
            scene = draw(args.seed, step * args.batch + place)
            pixels = prepare(scene.image, return_tensors="pt")["pixel_values"]
            side = int(rng.choice(encoder.config.sides, p=[0.5, 0.3, 0.2]))
            maps, (width, height) = view(encoder, pixels, side)
            true = torch.tensor([o.box for o in scene.objects]).reshape(-1, 4)
            scale = torch.tensor([width / scene.image.width, height / scene.image.height])
            loss = losses_of(head, maps, true * scale.repeat(2)) / args.batch
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 49 or step + 1 == args.steps:
            state = {
                "head": head.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(state, kept.with_suffix(".part"))
            os.replace(kept.with_suffix(".part"), kept)
            left = (time.monotonic() - begun) / (step + 1 - first) * (args.steps - step - 1)
            print(
                f"{step + 1}/{args.steps}: loss {total:.3f}, {left / 60:.0f} min left", flush=True
            )
    save_file({name: own.half() for name, own in head.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
