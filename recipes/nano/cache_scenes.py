"""Draws training scenes and pools frozen region features once, so that training needs no pictures.

    python recipes/nano/cache_scenes.py --weights DIR --out CACHE --scenes 8000 --workers 2

Each file of the cache holds 100 scenes; a file that exists is kept, so a stopped run goes on where it was.
"""

import argparse
import dataclasses
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from fo1.data.pictures import PicturePack
from fo1.data.scenes import Scene, SceneGenerator
from fo1.geometry import box_iou
from fo1.models.configuration import LightEncoderConfig
from fo1.models.light_encoder import LightEncoder
from fo1.models.processing import make_auxiliary_processor
from fo1.pipeline.loading import packaged_folder
from fo1.proposals.detector import NanoDetProposer

SHARD = 100
HOST_SIDE = 224
PARTS, BACKGROUNDS, PROPOSALS = 4, 4, 10
_workers: dict[str, object] = {}


def jitter(
    rng: np.random.Generator, box: np.ndarray, spread: float, size: tuple[int, int]
) -> np.ndarray:
    """Return a box whose edges moved by up to `spread` of its sides, clipped to (width, height)."""
    side = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-spread, spread, 4) * side
    moved = np.clip(moved, 0, np.tile(size, 2))
    return moved if (moved[2:] - moved[:2] >= 4).all() else box


def candidate_boxes(scene: Scene, proposals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (N, 4) boxes to train on: objects first, then jittered, parts, patches, background, proposals."""
    size = scene.image.size
    true = np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4)
    boxes = [true, np.array([jitter(rng, b, 0.12, size) for b in true])]
    for box in true[rng.permutation(len(true))[:PARTS]]:
        x, y = (box[:2] + box[2:]) / 2
        boxes.append(
            np.array([[box[0], box[1], box[2], y], [x, box[1], box[2], box[3]]])[rng.integers(2)][
                None
            ]
        )
    boxes.append(np.array(scene.distractors, np.float32).reshape(-1, 4))
    sides = np.exp(rng.uniform(np.log(24), np.log(240), (BACKGROUNDS, 2)))
    corner = rng.uniform(0, 1, (BACKGROUNDS, 2)) * np.maximum(np.array(size) - sides, 1)
    boxes.append(np.clip(np.concatenate([corner, corner + sides], 1), 0, np.tile(size, 2)))
    boxes.append(proposals[:PROPOSALS])
    return np.concatenate([b.reshape(-1, 4) for b in boxes]).astype(np.float32)


def frozen_encoder(weights: Path | None = None, familiar_axes: int = 0) -> LightEncoder:
    """Return the frozen encoders, float32: those of a folder of converted weights, or of the packaged model.

    Args:
        weights: the folder.
        familiar_axes: see `LightEncoderConfig`; what they are is set by the training.
    """
    config = LightEncoderConfig(contrasts=True, familiar_axes=familiar_axes)
    encoder = LightEncoder(config).eval()
    stored = load_file(packaged_folder() / "model.safetensors") if weights is None else {}
    for part, file in (("classifier", "efficientnet_lite0"), ("detector", "nanodet")):
        start = f"region_encoder.auxiliary.{part}."
        own = {k.removeprefix(start): v for k, v in stored.items() if k.startswith(start)}
        if weights is not None:
            own = load_file(weights / f"{file}.safetensors")
        encoder.get_submodule(part).load_state_dict({k: v.float() for k, v in own.items()})
    return encoder


def make_shard(number: int, args: argparse.Namespace) -> tuple[int, int]:
    """Write scenes number * 100 ... and return (scenes, regions)."""
    target = args.out / f"scenes_{number:05d}.pt"
    if target.exists():
        return 0, 0
    if not _workers:
        torch.set_num_threads(1)
        pack = PicturePack.open()
        lineages = args.lineages.split(",") if args.lineages else None
        concepts = None if not args.held_out_concepts else sorted(pack.held_out)
        _workers["generator"] = SceneGenerator(pack, lineages=lineages, concepts=concepts)
        encoder = frozen_encoder(args.weights).to(memory_format=torch.channels_last)
        _workers["encoder"] = encoder
        _workers["proposer"] = NanoDetProposer(encoder.detector, limit=2 * PROPOSALS)
        _workers["pixels"] = make_auxiliary_processor([127 / 255] * 3, [128 / 255] * 3)
    generator, encoder = _workers["generator"], _workers["encoder"]
    records = []
    for index in range(number * SHARD, (number + 1) * SHARD):
        scene = generator(args.seed, index)
        if not scene.objects:
            continue
        rng = np.random.default_rng([args.seed, index, 1])
        boxes = candidate_boxes(scene, _workers["proposer"].propose(scene.image).boxes, rng)
        pixels = _workers["pixels"](scene.image, return_tensors="pt")["pixel_values"]
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            maps = encoder(pixels)
        with torch.inference_mode():
            raw = encoder.pool_raw(tuple(m.float() for m in maps), torch.from_numpy(boxes), 7)
        iou = box_iou(boxes, np.array([o.box for o in scene.objects], np.float32))
        ratio = HOST_SIDE / max(scene.image.size)
        small = scene.image.resize(
            [max(28, round(side * ratio / 28) * 28) for side in scene.image.size],
            Image.Resampling.BICUBIC,
        )
        records.append(
            {
                "scene": dataclasses.replace(scene, image=None),
                "size": scene.image.size,
                "pixels": np.asarray(small),
                "boxes": boxes,
                "owner": iou.argmax(1),
                "iou": iou.max(1).astype(np.float32),
                "raw": raw.half(),
            }
        )
    part = target.with_suffix(".part")
    torch.save(records, part)
    os.replace(part, target)
    return len(records), sum(len(r["boxes"]) for r in records)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, help="folder with the converted encoders (those of the package)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--lineages", default="", help="comma-separated; default: all but the held-out one"
    )
    parser.add_argument(
        "--held-out-concepts", action="store_true", help="draw only concepts kept out of training"
    )
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    begin, scenes, regions = time.monotonic(), 0, 0
    shards = -(-args.scenes // SHARD)
    with ProcessPoolExecutor(args.workers) as pool:
        jobs = [pool.submit(make_shard, number, args) for number in range(shards)]
        for done, job in enumerate(jobs, 1):
            made, pooled = job.result()
            scenes, regions = scenes + made, regions + pooled
            seconds = time.monotonic() - begin
            print(
                f"{done}/{shards} files, {scenes} scenes, {regions} regions, {scenes / seconds:.1f} scenes/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
