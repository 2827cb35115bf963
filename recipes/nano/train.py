"""Trains `nano` from cached scenes: the host first, then the region encoder with the host frozen, then both.

    python recipes/nano/train.py --weights DIR --tokenizer DIR --cache DIR --out RUN

Several processes: torchrun --nproc-per-node 2 recipes/nano/train.py ... (the batch is divided among them).
A stopped run goes on at its last checkpoint. `assemble.py` writes the model from it.
"""

import argparse
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from imagined import Imagination
from safetensors.torch import load_file
from samples import HOST_PIXELS, SampleMaker
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.data.collator import Batch, Collator, Sample
from fo1.data.pictures import PicturePack
from fo1.lexicon import Lexicon
from fo1.models import (
    FO1Config,
    FO1ForConditionalGeneration,
    FO1Processor,
    LightEncoderConfig,
    RegionEncoderConfig,
    ScoreHeadConfig,
)
from fo1.models.encoding import RegionEmbeddings
from fo1.models.pooling import box_embedding
from fo1.models.processing import make_auxiliary_processor
from fo1.training import Stage, Trainer
from fo1.training.stages import HOST, HOST_LANGUAGE, REGIONS
from fo1.training.trainer import process_rank

SOURCES = ("imagenet", "coco")
NOTHING = "nothing"
BOX_SHARE = 0.05  # of the box embedding in a spoken region
ALIGN_NAMES = 512
NAMING_SCENES = 8  # times the batch

STAGES = (
    Stage(
        name="host", learns=HOST, steps=900, learning_rate=1.5e-3, losses={"score": 0.0, "lm": 1.0}
    ),
    Stage(
        name="naming",
        learns=("region_encoder.projector.", "score_head."),
        steps=2000,
        learning_rate=2e-3,
        losses={"align": 1.0, "speak": 0.5, "nothing": 0.2},
    ),
    Stage(
        name="alignment",
        learns=REGIONS,
        steps=400,
        learning_rate=6e-4,
        losses={"lm": 0.5, "score": 1.0, "align": 1.0, "speak": 0.5, "nothing": 0.2},
    ),
    Stage(
        name="perception",
        learns=(*REGIONS, *HOST_LANGUAGE),
        steps=1600,
        learning_rate=6e-4,
        losses={"lm": 1.0, "score": 1.0, "align": 1.0, "speak": 0.2, "nothing": 0.2},
    ),
)


def build_config(tokenizer) -> FO1Config:
    width = 256
    ids = tokenizer.convert_tokens_to_ids
    host = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 640,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "initializer_range": 0.04,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [8, 12, 12],
            },
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 320,
            "num_heads": 4,
            "out_hidden_size": width,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1, 3],
            "in_channels": 3,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|endoftext|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    region = RegionEncoderConfig(
        auxiliary_config=LightEncoderConfig(),
        host_width=128,
        host_stride=14,
        host_levels=2,
        use_pyramid=True,
        pyramid_width=32,
        output_size=7,
        projector="mlp2x_gelu",
        output_width=width,
    )
    return FO1Config(
        vlm_config=host,
        region_config=region,
        score_config=ScoreHeadConfig(
            width=256, evidence_sources=SOURCES, evidence_gains=(1.0, 2.0)
        ),
        region_placeholder_id=ids("<regionfeat>"),
        num_region_tokens=100,
        repeat_regions=True,
        tie_word_embeddings=True,
    )


def build_processor(tokenizer) -> FO1Processor:
    return FO1Processor(
        image_processor=Qwen2VLImageProcessorPil(
            min_pixels=HOST_PIXELS[0], max_pixels=HOST_PIXELS[1]
        ),
        auxiliary_image_processor=make_auxiliary_processor([127 / 255] * 3, [128 / 255] * 3),
        tokenizer=tokenizer,
    )


def load_encoders(model: FO1ForConditionalGeneration, weights: Path) -> None:
    encoder = model.region_encoder.auxiliary
    encoder.classifier.load_state_dict(load_file(weights / "efficientnet_lite0.safetensors"))
    encoder.detector.load_state_dict(load_file(weights / "nanodet.safetensors"))


def load_cache(folder: Path) -> list[dict]:
    return [
        record
        for file in sorted(folder.glob("scenes_*.pt"))
        for record in torch.load(file, weights_only=False)  # our own file, made by cache_scenes.py
    ]


def set_statistics(model: FO1ForConditionalGeneration, records: list[dict]) -> Tensor:
    """Store mean and spread of the classifier's features; return the covariance of its head's."""
    encoder = model.region_encoder.auxiliary
    raw = torch.cat([r["raw"][:, : encoder.feature_width].float() for r in records[:1500]])
    encoder.feature_mean.copy_(raw.mean(0))
    encoder.feature_std.copy_(raw.std(0) + 1e-3)
    head = raw[:, -encoder.head_width :]
    return torch.cov((head - head.mean(0)).T)


class Losses:
    """Named losses of one step; everything by chance comes from (seed, step)."""

    def __init__(
        self, model, processor, records, maker, lexicon, vocabulary, batch: int, seed: int
    ):
        self.processor, self.records, self.maker, self.lexicon = processor, records, maker, lexicon
        self.vocabulary, self.batch, self.seed = vocabulary, batch, seed
        self.collate = Collator(processor, repeat_regions=model.config.repeat_regions)
        self._words: dict[str, list[int]] = {}
        self._classes: dict[str, list[tuple[int, ...]]] = {}

    def __call__(self, model, step: int, stage: Stage) -> dict[str, Tensor]:
        rank = process_rank()
        rng = np.random.default_rng([self.seed, step, rank] if rank else [self.seed, step])
        if stage.name == "naming":
            return self.naming(model, rng, NAMING_SCENES)
        chosen = rng.integers(len(self.records), size=self.batch)
        samples = [self.maker(self.records[i], rng) for i in chosen]
        batch = self.collate(samples)
        encoding = model.encode_images(batch.images)
        if stage.name == "host":
            regions = self.spoken_regions(model, samples, batch)
        else:
            features = [f for f in batch.features]
            noise = _generator(self.seed, step + 10_000_000 * rank)
            if model.training:
                features = [f + 0.05 * torch.randn(f.shape, generator=noise) for f in features]
            regions = model.encode_regions(encoding, None, batch.host_boxes, features)
        states, embeddings = model.branch_states(
            batch.prefix_ids,
            batch.prefix_mask,
            batch.branches,
            encoding=encoding,
            regions=regions,
            region_index=batch.region_index,
            **batch.images,
        )
        prefix = batch.prefix_ids.shape[1]
        wanted = batch.labels != -100
        logits = model.vlm.lm_head(states[:, prefix:][wanted])
        losses = {"lm": F.cross_entropy(logits.float(), batch.labels[wanted])}
        if stage.name == "host":
            return losses
        losses["score"] = self.score_loss(model, samples, batch, states, embeddings, regions)
        return losses | self.naming(model, rng, NAMING_SCENES // 2)

    def naming(self, model, rng: np.random.Generator, scenes: int) -> dict[str, Tensor]:
        """Return the losses of regions against names alone: no picture, no language model, hence many regions.

        `scenes` is how many, in batches.
        """
        encoder, width = model.region_encoder, model.get_input_embeddings().weight.shape[1]
        chosen = rng.integers(len(self.records), size=scenes * self.batch)
        drawn = [self.maker.regions(self.records[i], rng) for i in chosen]
        with torch.no_grad():
            pooled = encoder.auxiliary.finish(torch.cat([raw for raw, *_ in drawn]))
            noise = torch.from_numpy(rng.standard_normal(pooled.shape, dtype=np.float32))
            features = torch.cat(
                [
                    pooled + 0.05 * noise,
                    pooled.new_zeros(len(pooled), encoder.width - pooled.shape[1]),
                ],
                -1,
            )
            where = [(torch.from_numpy(boxes), size) for _, boxes, size, _ in drawn]
            # The host's maps join in the next stage; what it sees of the place is the same in any frame.
            features += torch.cat(
                [box_embedding(boxes, size, encoder.width) for boxes, size in where]
            )
            places = torch.cat([box_embedding(boxes, size, width) for boxes, size in where])
        names = [n for *_, own in drawn for n in own]
        return self.region_losses(model, names, places, encoder.project(features), rng)

    def spoken_regions(self, model, samples: list[Sample], batch: Batch) -> RegionEmbeddings:
        """Return regions whose embeddings are the words for what they show, plus where they are."""
        embeddings = torch.cat(
            [self.speak(model, sample, model.get_input_embeddings()) for sample in samples]
        )
        return RegionEmbeddings(embeddings, embeddings, ())

    def speak(self, model, sample: Sample, table) -> Tensor:
        names = [n[0] if n else NOTHING for n in sample.names]
        where = box_embedding(torch.from_numpy(sample.boxes), sample.size, table.weight.shape[1])
        return self.words(names, table) + BOX_SHARE * where

    def words(self, names: list[str], table) -> Tensor:
        """Return (M, D): the mean embedding of each name's tokens."""
        for name in names:
            if name not in self._words:
                self._words[name] = self.processor.tokenizer(name, add_special_tokens=False)[
                    "input_ids"
                ]
        flat = [t for name in names for t in self._words[name]]
        owner = [i for i, name in enumerate(names) for _ in self._words[name]]
        rows = table(torch.tensor(flat))
        total = rows.new_zeros(len(names), rows.shape[-1]).index_add(0, torch.tensor(owner), rows)
        return total / torch.bincount(torch.tensor(owner), minlength=len(names))[:, None]

    def score_loss(self, model, samples, batch, states, embeddings, regions) -> Tensor:
        first, terms = 0, []
        for row, sample in enumerate(samples):
            count, queries = len(sample.boxes), len(sample.queries)
            own = RegionEmbeddings(
                regions.features[first : first + count],
                regions.embeddings[first : first + count],
                tuple(e[first : first + count] for e in regions.evidence),
            )
            first += count
            classes = [
                [self.classes(q.text)[s] for q in sample.queries] for s in range(len(SOURCES))
            ]
            # Turns follow the queries; they are scored as well and cut off.
            classes = [c + [()] * len(sample.turns) for c in classes]
            logits = model.score_row(
                row, batch.prefix_ids, batch.branches, states, embeddings, own, classes
            )
            targets = batch.targets[row]
            known = targets >= 0
            loss = F.binary_cross_entropy_with_logits(
                logits[:, :queries], targets.clamp(min=0), reduction="none"
            )
            terms.append((loss * known).sum() / max(1, queries) / 2)
        return torch.stack(terms).mean()

    def region_losses(
        self,
        model,
        names: list[tuple[str, ...]],
        places: Tensor,
        embeddings: Tensor,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Return losses of region embeddings alone.

        speak: distance to the words for what a region shows, plus where it is;
        align: which of many names is a region's own; nothing: every pair of region and name, true or not.
        """
        table = model.get_input_embeddings()
        with torch.no_grad():
            spoken = self.words([n[0] if n else NOTHING for n in names], table) + BOX_SHARE * places
        error = (embeddings.float() - spoken).square().mean(-1) / spoken.square().mean()
        shown = [i for i, n in enumerate(names) if n]
        present = sorted({names[i][0] for i in shown})
        others = [self.vocabulary[i] for i in rng.integers(len(self.vocabulary), size=ALIGN_NAMES)]
        asked = list(dict.fromkeys([*present, *others]))
        index = {name: i for i, name in enumerate(asked)}
        logits = model.score_head.words_logits(embeddings, self.words(asked, table))
        target = torch.tensor([index[names[i][0]] for i in shown])
        true = torch.zeros_like(logits)
        for row, own in enumerate(names):
            for name in own:
                if name in index:
                    true[row, index[name]] = 1.0
        also = true[shown].bool()
        also[torch.arange(len(shown)), target] = False
        pairs = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
        return {
            "speak": error.mean(),
            "align": F.cross_entropy(logits[shown].masked_fill(also, -1e4), target),
            "nothing": pairs.sum(-1).mean(),
        }

    def classes(self, text: str) -> list[tuple[int, ...]]:
        if text not in self._classes:
            self._classes[text] = [self.lexicon.classes(text, source) for source in SOURCES]
        return self._classes[text]


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def make_vocabulary(pack: PicturePack, lexicon: Lexicon) -> list[str]:
    """Return every name that training may ask for."""
    names = [n for c in pack.concepts.values() if not c.held_out for n in c.names]
    for source in SOURCES:
        names += [term for terms in lexicon.terms(source) for term in terms[:3]]
    return sorted(set(names))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=float, default=1.0, help="share of the recipe's steps")
    parser.add_argument("--until", type=int)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(args.seed)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        torch.distributed.init_process_group("gloo")

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    processor, lexicon, pack = build_processor(tokenizer), Lexicon.load(), PicturePack.open()
    model = FO1ForConditionalGeneration(build_config(tokenizer))
    load_encoders(model, args.weights)
    with torch.no_grad():  # region embeddings start at the size of word embeddings
        projector, pooled = model.region_encoder.projector, model.region_encoder.auxiliary.width
        projector[-1].weight.mul_(0.05)
        projector[0].weight[:, pooled:] = 0  # host maps join once the auxiliary features speak
    records = load_cache(args.cache)
    covariance = set_statistics(model, records)
    vocabulary = make_vocabulary(pack, lexicon)
    encoder = model.region_encoder.auxiliary
    imagination = Imagination(encoder, lexicon, covariance)
    drawn = [n for c in pack.concepts.values() if not c.held_out for n in c.names]
    maker = SampleMaker(encoder, lexicon, drawn, imagination)
    count = sum(p.numel() for p in model.parameters())
    own = count - sum(p.numel() for p in encoder.parameters())
    print(
        json.dumps(
            {"scenes": len(records), "names": len(vocabulary), "parameters": count, "own": own}
        ),
        flush=True,
    )

    stages = [replace(s, steps=max(1, int(s.steps * args.steps))) for s in STAGES]
    losses = Losses(
        model, processor, records, maker, lexicon, vocabulary, args.batch // processes, args.seed
    )
    trainer = Trainer(model, stages, losses, args.out, every=200, precision=torch.bfloat16)
    trainer.run(args.until)
    if processes > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
