"""Teaches small models to write lists, in rising order and in any order.

All begin with the same weights and see the same scenes, names and regions; only what they are to write differs. First
comes copying, without pictures: a region's embedding is the word for what it shows. Then come scenes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from circuits import plant
from crowds import KINDS, Crowd
from PIL import Image
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.data.collator import Batch, Collator
from fo1.data.sample import UNKNOWN, Dialogue, Query, Sample
from fo1.geometry import box_iou
from fo1.layout import query_branch
from fo1.models import (
    FO1Config,
    FO1ForConditionalGeneration,
    FO1Processor,
    RegionEncoderConfig,
    ScoreHeadConfig,
)
from fo1.models.encoding import RegionEmbeddings
from fo1.pipeline.loading import packaged_folder
from fo1.tags import NONE_TEXT, OBJECTS_CLOSE, region_token
from fo1.training.copying import spoken_regions
from fo1.training.objective import Objective
from fo1.training.recipe import Recipe
from fo1.training.run import Run
from fo1.training.stages import Stage

Style = Literal["rising", "any order"]
"""In which order lists name their regions."""
UNSURE = 0.3
"""IoU from which a region that is no thing's own costs no loss for the thing's name."""
WIDTH, LAYERS, HEADS = 128, 4, 4
FEW, MANY = 6, 18
"""Regions when copying begins, and from its middle on."""
NAMED = 0.85
"""Share of them that show a named thing."""
DESCRIBED = 4
"""Regions that are named, beside the lists."""
HOST_PIXELS = 112 * 112


def build_processor() -> FO1Processor:
    """Return the packaged processor, which shows the host smaller pictures."""
    packaged = FO1Processor.from_pretrained(packaged_folder())
    small = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=HOST_PIXELS)
    return FO1Processor(
        image_processor=small,
        auxiliary_image_processor=packaged.auxiliary_image_processor,
        tokenizer=packaged.tokenizer,
    )


def build_model(seed: int) -> FO1ForConditionalGeneration:
    """Return a model that knows nothing but the packaged auxiliary encoder's features."""
    packaged = FO1Config.from_pretrained(packaged_folder())
    host = packaged.vlm_config.to_dict()
    host["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": 320,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "layer_types": ["full_attention"] * LAYERS,
    }
    host["text_config"]["rope_parameters"] |= {"mrope_section": [4, 6, 6]}
    host["vision_config"] |= {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0, 1],
    }
    whole = FO1ForConditionalGeneration.from_pretrained(packaged_folder(), dtype=torch.float32)
    torch.manual_seed(seed)
    model = FO1ForConditionalGeneration(
        FO1Config(
            vlm_config=Qwen2_5_VLConfig(**host),
            region_config=RegionEncoderConfig(
                auxiliary_config=whole.config.region_config.auxiliary_config,
                host_width=64,
                host_stride=14,
                host_levels=2,
                pyramid_width=16,
                projector="mlp2x_gelu",
                output_width=WIDTH,
            ),
            score_config=ScoreHeadConfig(width=WIDTH, evidence_sources=()),
            pointer_width=WIDTH,
            region_placeholder_id=packaged.region_placeholder_id,
            num_region_tokens=packaged.num_region_tokens,
            tie_word_embeddings=True,
        )
    )
    model.region_encoder.auxiliary.load_state_dict(whole.region_encoder.auxiliary.state_dict())
    with torch.no_grad():  # region embeddings start at the size of word embeddings
        model.region_encoder.projector[-1].weight.mul_(0.1)
    plant(model)
    model.generation_config.eos_token_id = model.config.get_text_config().eos_token_id
    return model


@dataclass(frozen=True, eq=False)
class Lists:
    """Draws samples: a scene, its regions numbered by chance, and a list for every name that is asked.

    Args:
        crowds: returns the scenes; the same each time.
        names: that may be asked.
        style: of the lists.
        seed: of what is drawn.
        copies: samples without pictures, which come first.
    """

    crowds: Callable[[], list[Crowd]]
    names: list[str]
    style: Style
    seed: int
    copies: int
    _small: dict[int, Image.Image] = field(default_factory=dict)

    def __call__(self, index: int) -> Sample:
        """Return sample `index`."""
        rng = np.random.default_rng([self.seed, index])
        if index < self.copies:
            return self._copied(index, rng)
        crowds = self.crowds()
        number = int(rng.integers(len(crowds)))
        crowd = crowds[number]
        crowd = crowd.permuted(rng.permutation(len(crowd.boxes)))
        asked = asked_of(crowd, self.names, rng)
        image = self._shown(number, crowd)
        scale = image.width / crowd.image_size[0]
        return Sample(
            key=f"crowd{index}",
            images=(image,),
            boxes=((crowd.boxes * scale).astype(np.float32),),
            queries=tuple(Query(name, targets(crowd, name)) for name in asked),
            dialogues=(
                *(self._dialogue(crowd, name, rng) for name in asked),
                *_descriptions(crowd, rng),
            ),
            features=crowd.features.float(),
        )

    def _copied(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a sample whose regions are words."""
        progress = min(2 * index / self.copies, 1)
        most = round(FEW + (MANY - FEW) * progress)
        count = int(rng.integers(max(2, most // 2), most + 1))
        kinds = rng.choice(len(self.names), KINDS, replace=False)
        named = rng.random(count) < NAMED
        own = [
            self.names[int(k)] if n else ""
            for k, n in zip(rng.choice(kinds, count), named, strict=True)
        ]
        names = tuple(name for name in own if name)
        shows = np.where(named, np.cumsum(named) - 1, -1)
        boxes = np.tile(np.float32([0, 0, 56, 56]), (count, 1))
        crowd = Crowd(b"", boxes[: len(names)], names, boxes, shows, torch.zeros(count, 1))
        return Sample(
            key=f"copy{index}",
            images=(Image.new("RGB", (56, 56)),),
            boxes=(boxes,),
            dialogues=(
                *(
                    self._dialogue(crowd, name, rng)
                    for name in asked_of(crowd, self.names, rng)[: KINDS + 1]
                ),
                *_descriptions(crowd, rng),
            ),
            names=tuple((name,) if name else () for name in own),
            features=torch.zeros(count, 1),
        )

    def _shown(self, number: int, crowd: Crowd) -> Image.Image:
        """Return a scene as small as the host sees it anyway."""
        if number not in self._small:
            image = crowd.image
            image.thumbnail((160, 160), Image.Resampling.BICUBIC)
            self._small[number] = image
        return self._small[number]

    def _dialogue(self, crowd: Crowd, name: str, rng: np.random.Generator) -> Dialogue:
        members = crowd.members(name)
        if self.style == "any order":
            members = [members[int(i)] for i in rng.permutation(len(members))]
        listed = "".join(map(region_token, members)) or NONE_TEXT
        answer = f"{query_branch(name)}{listed}{OBJECTS_CLOSE}"
        return Dialogue(((name, answer),), "detect")


def _descriptions(crowd: Crowd, rng: np.random.Generator) -> list[Dialogue]:
    """Return what some regions show: looking up a region by its number comes before naming its number."""
    shown = [region for region, thing in enumerate(crowd.shows) if thing >= 0]
    chosen = [shown[int(i)] for i in rng.permutation(len(shown))[:DESCRIBED]]
    names = {region: crowd.names[crowd.shows[region]] for region in chosen}
    return [
        Dialogue(((region_token(r), region_token(r) + name),), "describe")
        for r, name in names.items()
    ]


def asked_of(crowd: Crowd, names: list[str], rng: np.random.Generator) -> list[str]:
    """Return the names that regions show and as many as there are kinds that none shows, shuffled."""
    there = sorted({crowd.names[thing] for thing in crowd.shows if thing >= 0})
    absent = [name for name in names if name not in crowd.names]
    chosen = there + [absent[int(i)] for i in rng.permutation(len(absent))[:KINDS]]
    return [chosen[int(i)] for i in rng.permutation(len(chosen))]


def targets(crowd: Crowd, name: str) -> np.ndarray:
    """Return (N,) 1 for regions that show a name, 0 for others, `UNKNOWN` for parts of such things."""
    found = np.zeros(len(crowd.boxes), np.float32)
    own = crowd.objects[[label == name for label in crowd.names]]
    if len(own):
        found[box_iou(crowd.boxes, own).max(1) >= UNSURE] = UNKNOWN
    found[crowd.members(name)] = 1
    return found


class Copying(Objective):
    """Lists about words: neither picture nor region encoder runs."""

    def __init__(self, model: FO1ForConditionalGeneration, processor: FO1Processor):
        super().__init__(model)
        self.processor = processor

    def encode(self, batch: Batch) -> tuple[None, RegionEmbeddings | None]:
        """Return regions that are the words for what they show."""
        return None, spoken_regions(self.model, self.processor, batch)


def run_of(
    crowds: Callable[[], list[Crowd]],
    names: list[str],
    style: Style,
    out: Path,
    processor: FO1Processor,
    steps: tuple[int, int],
    seed: int,
) -> Run:
    """Return the run that teaches one style of lists; steps of copying, then with scenes."""
    copying = Stage(
        name="copying",
        learns={"language_model": 1e-3, "pointer": 1e-3},
        steps=steps[0],
        batch=24,
        losses={"lm": 1.0, "score": 0.0},
    )
    everything = ("language_model", "pointer", "regions", "score_head", "vision")
    seeing = Stage(name="seeing", learns=dict.fromkeys(everything, 1e-3), steps=steps[1], batch=24)
    lists = Lists(crowds, names, style, seed, copying.steps * copying.batch)

    def objective(model: FO1ForConditionalGeneration, stage: Stage) -> Objective:
        return Copying(model, processor) if stage is copying else Objective(model)

    return Run(
        recipe=Recipe(
            name=f"lists, {style}",
            stages=(copying, seeing),
            micro_batch=24,
            save_every=100,
            seed=seed,
        ),
        load=lambda: build_model(seed),
        processor=processor,
        draw=lambda _: lists,
        collator=Collator(processor),
        out=out,
        make_objective=objective,
    )
