"""The golden cases, each run once through our model."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.encoding import PictureEncoding, RegionEmbeddings

FIXTURES = Path(__file__).parent / "fixtures"
CASES: dict[str, dict[str, Any]] = json.loads((FIXTURES / "goldens/cases.json").read_text())
STEPS = 24


@dataclass(frozen=True)
class Run:
    """One case: the goldens and what ours makes of the same picture, boxes and prompt."""

    case: dict[str, Any]
    golden: dict[str, Tensor]
    model: FO1ForConditionalGeneration
    inputs: dict[str, Any]
    encoding: PictureEncoding
    regions: RegionEmbeddings
    embeddings: Tensor
    positions: Tensor
    logits: Tensor
    generated: Any

    def spread(self, stage: str) -> float:
        """Return the standard deviation of the whole golden tensor."""
        return self.case["tensors"][stage]["std"]

    def stored_part(self, stage: str, tensor: Tensor) -> Tensor:
        """Return the elements of our tensor that are stored of the golden one."""
        info = self.case["tensors"][stage]
        assert list(tensor.shape) == info["shape"]
        return tensor.detach().reshape(-1)[:: info.get("step", 1)]

    def assert_close(self, stage: str, ours: Tensor, relative: float = 1e-4) -> None:
        """Assert that the largest difference is below a share of the golden's spread."""
        golden = self.golden[stage].reshape(-1)
        difference = (self.stored_part(stage, ours) - golden).abs().max().item()
        assert difference <= relative * self.spread(stage), f"{stage} differs by {difference:.3g}"


@cache
def load_model(name: str) -> FO1ForConditionalGeneration:
    return FO1ForConditionalGeneration.from_pretrained(FIXTURES / name).eval()


@cache
def load_picture(name: str) -> Image.Image:
    return Image.open(FIXTURES / "goldens" / name).convert("RGB")


def golden_boxes(name: str) -> np.ndarray:
    """Return the (N, 4) boxes to hand in so that they land where the golden has them.

    The reference enlarges a tiny picture without scaling its boxes, so its boxes mean the enlarged
    frame; ours mean the original picture.
    """
    boxes = np.array(CASES[name]["boxes"], np.float32)
    if name == "small_2":
        boxes = boxes * np.array([1, 24 / 28, 1, 24 / 28], np.float32)
    return boxes


@cache
def run_case(name: str) -> Run:
    case = CASES[name]
    model = load_model(case["model"])
    processor = FO1Processor.from_pretrained(FIXTURES / case["model"])
    inputs = processor(
        images=[load_picture(case["image"])], boxes=[golden_boxes(name)], text=case["prompt"]
    )
    with torch.inference_mode():
        encoding = model.encode_images(inputs)
        regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        embeddings = model.fuse(ids, regions)[0]
        embeddings[ids[0] == model.family.image_token_id(model.vlm.config)] = encoding.host.tokens[
            0
        ]
        positions = model.family.position_ids(model.vlm, ids, mask, inputs)[:, 0]
        prompt = {
            "input_ids": ids,
            "attention_mask": mask,
            "encoding": encoding,
            "regions": regions,
        }
        grid = {"image_grid_thw": inputs["image_grid_thw"]}
        logits = model(**prompt, **grid).logits[0]
        generated = model.generate(
            **prompt,
            **grid,
            max_new_tokens=STEPS,
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return Run(
        case=case,
        golden=load_file(FIXTURES / "goldens" / f"{name}.safetensors"),
        model=model,
        inputs=inputs,
        encoding=encoding,
        regions=regions,
        embeddings=embeddings,
        positions=positions,
        logits=logits,
        generated=generated,
    )
