"""Trains `nano` from cached scenes: the host first, then the region encoder with the host frozen, then both.

    python recipes/nano/train.py --weights DIR --tokenizer DIR --cache DIR --out RUN

Several processes: torchrun --nproc-per-node 2 recipes/nano/train.py ... (the batch is divided among them). Without
--weights the encoders are those of the packaged model. A stopped run goes on at its last checkpoint.
"""

import argparse
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cache_scenes import frozen_encoder
from imagined import Imagination
from looking_back import look_back
from samples import HOST_PIXELS, SampleMaker
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.data.collator import Batch, Collator
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
from fo1.models.light_encoder import LightEncoder
from fo1.models.pooling import box_embedding
from fo1.models.processing import make_auxiliary_processor
from fo1.training.objective import Objective
from fo1.training.recipe import Recipe
from fo1.training.run import Run, run
from fo1.training.stages import Stage

SOURCES = ("imagenet", "coco")
NOTHING = "nothing"
BOX_SHARE = 0.2  # of the box embedding in a spoken region, whose words are of size 1
SPEAK_SCALE = 30.0  # of the cosine of a region and the words for it
ALIGN_NAMES = 512
NAMING_SCENES = 8  # times the batch
FAMILIAR_AXES = 32
FEW_NAMES = 32  # that are copied at first
GROWING = 0.7  # share of that stage after which all are
WORDS_SCALE = 16.0  # of the score head at first; 8 rules out a sure choice among a thousand names
DROPOUT, NOISE = 0.3, 0.05  # of region features

REGIONS = dict.fromkeys(("regions", "score_head", "pointer"), 6e-4)
OF_REGIONS = {"align": 1.0, "nothing": 0.2, "speak": 1.0, "place": 0.05}
STAGES = (
    Stage(
        name="host",
        learns={"language_model": 2e-3, "pointer": 2e-3},
        steps=1000,
        batch=12,
        losses={"lm": 1.0, "score": 0.0},
    ),
    Stage(
        name="naming",
        learns={"regions": 1.5e-3, "score_head": 2e-3},
        steps=1000,
        batch=12,
        losses={"lm": 0.0, "score": 0.0, **OF_REGIONS},
    ),
    Stage(
        name="alignment",
        learns=REGIONS,
        steps=100,
        batch=12,
        losses={"lm": 0.5, "score": 0.5, **OF_REGIONS},
    ),
    Stage(
        name="perception",
        learns={**REGIONS, "language_model": 1e-3, "vision": 6e-4},
        steps=1500,
        batch=12,
        losses={"lm": 1.0, "score": 0.5, **OF_REGIONS},
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
        auxiliary_config=LightEncoderConfig(contrasts=True, familiar_axes=FAMILIAR_AXES),
        host_width=128,
        host_stride=14,
        host_levels=2,
        use_pyramid=True,
        pyramid_width=32,
        output_size=7,
        projector="linear",
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
        pointer_width=128,
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


def load_cache(folder: Path) -> list[dict]:
    return [
        record
        for file in sorted(folder.glob("scenes_*.pt"))
        for record in torch.load(file, weights_only=False)  # our own file, made by cache_scenes.py
    ]


def set_statistics(encoder: LightEncoder, records: list[dict]) -> Tensor:
    """Store mean, spread and distances of the classifier's features; return the covariance of its head's."""
    raw = torch.cat([r["raw"][:, : encoder.feature_width].float() for r in records[:1500]])
    encoder.feature_mean.copy_(raw.mean(0))
    encoder.feature_std.copy_(raw.std(0) + 1e-3)
    means = (raw - encoder.feature_mean) / encoder.feature_std
    encoder.familiarity.fit(means[:, -encoder.familiarity.axes.shape[1] :])
    head = raw[:, -encoder.head_width :]
    return torch.cov((head - head.mean(0)).T)


class NanoObjective(Objective):
    """The losses of every stage; what is drawn by chance depends on the batch alone."""

    def __init__(self, model, stage: Stage, processor, records, maker, vocabulary, seed: int):
        super().__init__(model)
        self.stage, self.processor, self.records, self.maker = stage, processor, records, maker
        self.vocabulary, self.seed = vocabulary, seed
        self._words: dict[str, list[int]] = {}

    def counts(self, batch: Batch) -> dict[str, float]:
        parts = dict.fromkeys(OF_REGIONS, 1.0)
        return super().counts(batch) | ({} if self.stage.name == "host" else parts)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, int(batch.packed.ids.sum())])
        scenes = len(batch.names)
        if self.stage.name == "naming":
            return self.naming(self.model, rng, NAMING_SCENES * scenes)
        losses = super().forward(batch)
        if self.stage.name == "host":
            return losses
        return losses | self.naming(self.model, rng, NAMING_SCENES // 2 * scenes)

    def encode(self, batch: Batch):
        if self.training and batch.features is not None:
            seed = self.seed + int(batch.packed.ids.sum())
            chance = torch.Generator().manual_seed(seed)
            batch = replace(batch, features=tuple(disturb(f, chance) for f in batch.features))
        encoding, regions = super().encode(batch)
        if self.stage.name == "host" and regions is not None:
            regions = self.spoken_regions(batch, encoding)
        return encoding, regions

    def naming(self, model, rng: np.random.Generator, scenes: int) -> dict[str, Tensor]:
        """Return the losses of regions against names alone: no picture, no language model, hence many regions.

        `scenes` is how many.
        """
        encoder, width = model.region_encoder, model.get_input_embeddings().weight.shape[1]
        chosen = rng.integers(len(self.records), size=scenes)
        drawn = [self.maker.regions(self.records[i], rng) for i in chosen]
        with torch.no_grad():
            pooled = encoder.auxiliary.finish(torch.cat([raw for raw, *_ in drawn]))
            chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
            host = pooled.new_zeros(len(pooled), encoder.width - pooled.shape[1])
            features = torch.cat([disturb(pooled, chance), host], -1)
            where = [(torch.from_numpy(boxes), size) for _, boxes, size, _ in drawn]
            # The host's maps join in the next stage; what it sees of the place is the same in any frame.
            features += torch.cat(
                [box_embedding(boxes, size, encoder.width) for boxes, size in where]
            )
            places = torch.cat([box_embedding(boxes, size, width) for boxes, size in where])
        names = [n for *_, own in drawn for n in own]
        return self.region_losses(model, names, places, encoder.project(features), rng)

    def spoken_regions(self, batch: Batch, encoding) -> RegionEmbeddings:
        """Return regions whose embeddings are the words for what they show, plus where they are."""
        table = self.model.get_input_embeddings()
        width = table.weight.shape[1]
        names = [n[0] if n else NOTHING for scene in batch.names for n in scene]
        where = torch.cat(
            [
                box_embedding(boxes, maps.frame, width)
                for boxes, maps in zip(
                    batch.pictures["host_boxes"], encoding.host.maps, strict=True
                )
            ]
        )
        spoken = self.spoken(names, where, table)
        return RegionEmbeddings(spoken, spoken, ())

    def spoken(self, names: list[str], where: Tensor, table) -> Tensor:
        """Return (M, D): the words for what regions show, of size 1, plus where they are: (M, D)."""
        words = self.words(names, table)
        return F.normalize(words, dim=-1) * words.shape[-1] ** 0.5 + BOX_SHARE * where

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

    def region_losses(
        self,
        model,
        names: list[tuple[str, ...]],
        places: Tensor,
        embeddings: Tensor,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Return losses of region embeddings alone.

        align: which of many names is a region's own, by the score head; nothing: every pair of region and name, true or
        not; speak: which of the names a region looks like, as the language model learned to read it;
        place: distance to the words for what it shows, plus where it is.
        """
        table = model.get_input_embeddings()
        shown = [i for i, n in enumerate(names) if n]
        present = sorted({names[i][0] for i in shown})
        others = [self.vocabulary[i] for i in rng.integers(len(self.vocabulary), size=ALIGN_NAMES)]
        asked = list(dict.fromkeys([*present, *others]))
        index = {name: i for i, name in enumerate(asked)}
        with torch.no_grad():
            spoken = self.spoken([n[0] if n else NOTHING for n in names], places, table)
        words = self.words(asked, table)
        logits = model.score_head.words_logits(embeddings, words)
        # What all words share says nothing about which one is meant.
        apart = F.normalize(words.detach() - words.detach().mean(0), dim=-1)
        looks = SPEAK_SCALE * F.normalize(embeddings[shown].float(), dim=-1) @ apart.T
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
            "align": F.cross_entropy(logits[shown].masked_fill(also, -1e4), target),
            "nothing": pairs.sum(-1).mean(),
            "speak": F.cross_entropy(looks.masked_fill(also, -1e4), target),
            "place": (embeddings.float() - spoken).square().mean(),
        }


def disturb(features: Tensor, chance: torch.Generator) -> Tensor:
    """Return features (N, C) with noise, some of them left out."""
    noisy = features + NOISE * torch.randn(features.shape, generator=chance)
    kept = torch.rand(features.shape, generator=chance) >= DROPOUT
    return noisy * kept / (1 - DROPOUT)


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
    add_arguments(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    given = make_run(args)
    run(given)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, help="converted encoders (those of the package)")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=float, default=1.0, help="share of the recipe's steps")


def make_run(args: argparse.Namespace) -> Run:
    """Return the run of the given folders."""
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    processor, lexicon, pack = build_processor(tokenizer), Lexicon.load(), PicturePack.open()
    records, config = load_cache(args.cache), build_config(tokenizer)
    encoder = frozen_encoder(args.weights, FAMILIAR_AXES)
    covariance = set_statistics(encoder, records)

    def load() -> FO1ForConditionalGeneration:
        torch.manual_seed(args.seed)
        model = FO1ForConditionalGeneration(config)
        model.region_encoder.auxiliary.load_state_dict(encoder.state_dict())
        look_back(model)
        with torch.no_grad():
            weight = model.region_encoder.projector[0].weight
            weight.mul_(0.3)  # region embeddings start at about the size of what was spoken
            weight[:, encoder.width :] = 0  # host maps join once the auxiliary features speak
            model.score_head.words_scale.fill_(WORDS_SCALE)
        return model

    drawn = [n for c in pack.concepts.values() if not c.held_out for n in c.names]
    maker = SampleMaker(encoder, lexicon, drawn, Imagination(encoder, lexicon, covariance))
    vocabulary = make_vocabulary(pack, lexicon)
    stages = tuple(
        replace(s, steps=max(1, int(s.steps * args.steps)), batch=args.batch) for s in STAGES
    )
    print(json.dumps({"scenes": len(records), "names": len(vocabulary)}), flush=True)

    order = np.random.default_rng(args.seed).permutation(len(vocabulary))
    shuffled = [vocabulary[i] for i in order]

    def draw(stage: Stage):
        def sample(index: int):
            rng = np.random.default_rng([args.seed, index])
            record = records[int(rng.integers(len(records)))]
            if stage.name == "host":
                progress = min(1.0, index / (GROWING * stage.steps * stage.batch))
                count = round(FEW_NAMES * (len(vocabulary) / FEW_NAMES) ** progress)
                return maker.copying(record, shuffled[:count], progress, rng)
            return maker(record, rng)

        return sample

    def objective(model: FO1ForConditionalGeneration, stage: Stage) -> NanoObjective:
        return NanoObjective(model, stage, processor, records, maker, vocabulary, args.seed)

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return Run(
        recipe=Recipe(
            name="nano from scratch",
            stages=stages,
            micro_batch=args.batch // processes,
            bf16=True,
            save_every=200,
            seed=args.seed,
        ),
        load=load,
        processor=processor,
        draw=draw,
        collator=Collator(
            processor,
            repeat_regions=config.repeat_regions,
            lexicon=lexicon,
            sources=SOURCES,
        ),
        out=args.out,
        make_objective=objective,
    )


if __name__ == "__main__":
    main()
