"""The pretrained language model with a small vision front, as a model with region tokens.

The front (a vision tower and its connector) is random and stays frozen: pictures reach the language model as four
tokens that say nothing. What is seen of a region comes from the packaged model's auxiliary encoder.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from fo1.layout import Turn, build_prompt
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor
from fo1.pipeline.loading import packaged_folder

SIDE, PATCH = 56, 28
AUXILIARY = "region_encoder.auxiliary."


def load_language_model(folder: Path) -> LlamaForCausalLM:
    """Return the language model as it came, float32."""
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
    stored = load_file(folder / "model.safetensors")
    missing, strange = model.load_state_dict(stored, strict=False)
    if strange or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"{folder} does not hold the language model; run prepare.py again")
    model.tie_weights()
    return model.eval()


def build(folder: Path) -> tuple[FO1ForConditionalGeneration, FO1Processor]:
    """Return the same model with region tokens every time, and its processor."""
    torch.manual_seed(0)
    language = load_language_model(folder)
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.config,
        vision_feature_layer=-1,
        image_token_index=language.config.vocab_size,
        tie_word_embeddings=True,
    )
    vlm = LlavaForConditionalGeneration(config)
    vlm.model.language_model.load_state_dict(language.model.state_dict())
    vlm.tie_weights()
    pixels = CLIPImageProcessorPil(
        do_center_crop=False,
        size={"height": SIDE, "width": SIDE},
        patch_size=PATCH,
        num_additional_image_tokens=0,
    )
    model, processor = FO1ForConditionalGeneration.from_vlm(
        vlm,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        image_processor=pixels,
        auxiliary_config=FO1Config.from_pretrained(
            packaged_folder()
        ).region_config.auxiliary_config,
        score=False,
        num_region_tokens=16,
        use_pyramid=False,
    )
    stored = load_file(packaged_folder() / "model.safetensors")
    own = {
        k.removeprefix(AUXILIARY): v.float() for k, v in stored.items() if k.startswith(AUXILIARY)
    }
    model.region_encoder.auxiliary.load_state_dict(own)
    with torch.no_grad():  # region embeddings start at the size of word embeddings
        last = model.region_encoder.projector[-1]
        last.weight.mul_(0.05)
        last.bias.mul_(0.05)
    return model.eval(), processor


@torch.no_grad()
def answers(
    language: Any, tokenizer: Any, questions: list[str], most: int, *, whole: bool = False
) -> list[str]:
    """Return greedy answers of up to `most` tokens to questions without pictures.

    Args:
        language: the language model.
        tokenizer: its own.
        questions: asked one by one.
        most: tokens of an answer.
        whole: whether an answer that had not ended by then is given as "".
    """
    texts = [build_prompt(Turn("user", (question,))) for question in questions]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, ids))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    padded = torch.tensor([[end] * (width - len(one)) + one for one in ids])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in ids])
    written = language.generate(
        input_ids=padded,
        attention_mask=mask,
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    found: list[str] = []
    for row in written[:, width:]:
        ended = bool((row == end).any())
        text = tokenizer.decode(row, skip_special_tokens=True).strip()
        found.append("" if whole and not ended else text)
    return found
