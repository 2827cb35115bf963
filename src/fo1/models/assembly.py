"""A pretrained host and a fresh region encoder become one model, ready for the first stage of training.

    host, tokenizer, image processor --assemble--> FO1ForConditionalGeneration, FO1Processor

Every host reads the same chat, so tokens that its vocabulary lacks are added: those that open and close turns and
pictures, the markup of answers, one index token per region and the placeholder. Nothing that the host knows changes:
its weights stay as they are, and embeddings grow by rows at most.

Legend: V rows of the vocabulary, D language width.
"""

import copy
import inspect
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AddedToken,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from fo1 import tags
from fo1.errors import InputError
from fo1.layout import TURN_END, TURN_START, VISION_END, VISION_START
from fo1.models.configuration import (
    FO1Config,
    LightEncoderConfig,
    RegionEncoderConfig,
    ScoreHeadConfig,
)
from fo1.models.encoders import load_auxiliary, pixel_statistics, read_auxiliary_config
from fo1.models.families import VLMFamily, get_family
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import (
    FO1Processor,
    make_auxiliary_processor,
    pillow_processor,
)
from fo1.models.published.reading import IMAGE_TOKEN, add_region_placeholder

CHAT_TOKENS = (TURN_START, TURN_END, VISION_START, VISION_END)
MARKUP_TOKENS = (
    *(tags.GROUND_OPEN, tags.GROUND_CLOSE, tags.OBJECTS_OPEN, tags.OBJECTS_CLOSE),
    *(tags.THINK_OPEN, tags.THINK_CLOSE, tags.ANSWER_OPEN, tags.ANSWER_CLOSE),
)
PAD_TOKEN = "<|endoftext|>"
NOISE = 0.1
"""Spread of a new row around the mean of the old ones, as a share of theirs."""


def assemble(
    vlm: PreTrainedModel | str | Path,
    *,
    tokenizer: Any,
    image_processor: Any,
    auxiliary_config: PreTrainedConfig | str | Path | None = None,
    score: bool = True,
    pointer_width: int = 0,
    num_region_tokens: int = 100,
    repeat_regions: bool = False,
    seed: int = 0,
    **region_options: Any,
) -> tuple[FO1ForConditionalGeneration, FO1Processor]:
    """Return a model around a host, and its processor; the same seed gives the same weights.

    Args:
        vlm: a host of a known family, or the folder or hub id of one. It becomes part of the model.
        tokenizer: the host's; the processor gets a copy with more tokens.
        image_processor: the host's; the processor gets a copy.
        auxiliary_config: of the auxiliary encoder, None for DaViT at its usual size; its weights are random, so load
            pretrained ones into `model.region_encoder.auxiliary`. Or the folder or hub id of a vision encoder of
            transformers, whose weights are taken as well; see `encoders`.
        score: whether there is a score head.
        pointer_width: as in `FO1Config`; hosts that cannot copy from what they read yet need one.
        num_region_tokens: how many index tokens `<region0>` ... the vocabulary shall hold.
        repeat_regions: as in `FO1Config`.
        seed: of everything that is drawn.
        region_options: settings of `RegionEncoderConfig`; widths are those of the host.

    Raises:
        CheckpointError: the host is of an unknown family, or a setting contradicts it.
        InputError: tokenizer or image processor do not suit the host, or an option does not exist.
    """
    _check_options(region_options)
    folder = auxiliary_config if isinstance(auxiliary_config, str | Path) else None
    if isinstance(auxiliary_config, str | Path):
        auxiliary_config = read_auxiliary_config(auxiliary_config)
    if isinstance(vlm, str | Path):
        vlm = cast(PreTrainedModel, AutoModelForImageTextToText.from_pretrained(vlm))
    host: Any = vlm.config
    family = get_family(host.model_type)
    processor = FO1Processor(
        image_processor=family.fit_image_processor(
            pillow_processor(image_processor.to_dict()), host
        ),
        auxiliary_image_processor=make_auxiliary_processor(
            *pixel_statistics(auxiliary_config, folder)
        ),
        tokenizer=copy.deepcopy(tokenizer),
        host=host.model_type,
    )
    known = set(tokenizer.get_vocab().values())
    processor.image_token = _add_tokens(processor.tokenizer, num_region_tokens, family, host)
    token_id = processor.tokenizer.convert_tokens_to_ids
    host.image_token_id = token_id(processor.image_token)

    config = FO1Config(
        vlm_config=copy.deepcopy(host),
        region_config=RegionEncoderConfig(
            auxiliary_config=auxiliary_config,
            host_width=family.map_width(host),
            host_stride=family.map_stride(host),
            host_levels=len(family.region_layers(host)),
            output_width=host.get_text_config().hidden_size,
            **region_options,
        ),
        score_config=_score_config(auxiliary_config) if score else None,
        pointer_width=pointer_width,
        region_placeholder_id=processor.region_placeholder_id,
        num_region_tokens=num_region_tokens,
        repeat_regions=repeat_regions,
    )
    # Only now: a new config resets the kind of attention in those that it is given.
    config.vlm_config = host
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _around(vlm, config)
        fresh = set(processor.tokenizer.get_vocab().values()) - known
        _grow(vlm, fresh, host.image_token_id)
    if getattr(model.region_encoder.auxiliary, "pyramid", None) is not None:
        # A plain ViT attends from every patch to all: its work grows with the fourth power of a side.
        processor.auxiliary_resize = "squash"
    if folder is not None:
        load_auxiliary(model.region_encoder.auxiliary, folder)
    model.region_encoder.to(vlm.device, vlm.dtype)
    for part in (model.score_head, model.pointer):
        if part is not None:
            part.to(vlm.device)
    model.generation_config = _generation(vlm, processor.tokenizer)
    return model.eval(), processor


def _around(vlm: PreTrainedModel, config: FO1Config) -> FO1ForConditionalGeneration:
    """Return a model that owns the host, whose weights stay as they are."""
    for module in vlm.modules():
        # The library's mark; what lacks it, such as rows added by the caller, would be drawn anew.
        cast(Any, module)._is_hf_initialized = True
    return FO1ForConditionalGeneration(config, vlm)


def _check_options(options: dict[str, Any]) -> None:
    known = inspect.signature(RegionEncoderConfig.__init__).parameters
    given = {"host_width", "host_stride", "host_levels", "output_width"}  # by the host
    for name in options:
        if name not in known or name in {"self", "kwargs"} or name in given:
            free = sorted(set(known) - given - {"self", "kwargs", "auxiliary_config"})
            raise InputError(f"option {name!r} cannot be set; use one of {', '.join(free)}")


def _add_tokens(tokenizer: Any, num_regions: int, family: VLMFamily, host: Any) -> str:
    """Add what the vocabulary lacks, in place; return what it calls one image position.

    Raises:
        InputError: the tokenizer cuts an added token to pieces.
    """
    image = _own_image_token(tokenizer, family.image_token_id(host))
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    regions = tuple(tags.region_token(region) for region in range(num_regions))
    special = (image, *CHAT_TOKENS)
    markup = (*MARKUP_TOKENS, *regions)  # answers are read from these, so decoding keeps them
    for tokens, is_special in ((special, True), (markup, False)):
        there = tokenizer.get_added_vocab()
        missing = [token for token in tokens if token not in there]
        tokenizer.add_tokens(
            [AddedToken(token, special=is_special, normalized=False) for token in missing],
            special_tokens=is_special,
        )
    add_region_placeholder(tokenizer)
    for token in (*special, *markup, tags.REGION_PLACEHOLDER):
        own = tokenizer.convert_tokens_to_ids(token)
        alone, behind = tokenizer([token, f"a{token}"], add_special_tokens=False)["input_ids"]
        if alone != [own] or behind[-1] != own:
            raise InputError(
                f"the tokenizer cuts {token} to pieces, which has to be one token; use another tokenizer"
            )
    return image


def _own_image_token(tokenizer: Any, image_token_id: int) -> str:
    """Return the special token at the host's id of image positions; a name to add where there is none."""
    found = tokenizer.added_tokens_decoder.get(image_token_id)
    taken = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    if found is None or not found.special or found.content in taken:
        return IMAGE_TOKEN
    return found.content


def _grow(vlm: PreTrainedModel, fresh: set[int], image_token_id: int) -> None:
    """Give every new token a row of its own in the host's embeddings, and in its vocabulary head.

    Rows that the host had to spare keep their values. Only one that equals the row of the image token is drawn: hosts
    find the places of a picture by their embeddings.
    """
    rows = len(_matrix(vlm.get_input_embeddings()))
    need = max(fresh, default=-1) + 1
    if need > rows:
        vlm.resize_token_embeddings(need, mean_resizing=False)
    embeddings = _matrix(vlm.get_input_embeddings())
    head = vlm.get_output_embeddings()
    tied = head is None or _matrix(head) is embeddings
    matrices = [embeddings] if tied else [embeddings, _matrix(head)]
    for matrix in matrices:
        _draw(matrix, list(range(rows, len(matrix))), rows)
    image = embeddings[image_token_id]
    spare = sorted(token for token in fresh if token < rows and token != image_token_id)
    same = [token for token in spare if torch.equal(embeddings[token], image)]
    _draw(embeddings, same, rows)


@torch.no_grad()
def _draw(matrix: Tensor, rows: list[int], old: int) -> None:
    """Draw some rows of a (V, D) matrix around the mean of its first `old` ones, in place."""
    if not rows:
        return
    known = matrix[:old].float()
    mean, spread = known.mean(0), known.std(0)
    noise = torch.randn(len(rows), matrix.shape[1]).to(mean.device)
    matrix[rows] = (mean + NOISE * spread * noise).to(matrix.dtype)


def _matrix(layer: Any) -> Tensor:
    return layer.weight


def _score_config(config: PreTrainedConfig | None) -> ScoreHeadConfig:
    """Return the settings of a score head that reads all evidence the auxiliary encoder gives."""
    sources: tuple[str, ...] = ()
    if isinstance(config, LightEncoderConfig):
        sources = ("imagenet", "coco") if config.coco_classes else ("imagenet",)
    return ScoreHeadConfig(evidence_sources=sources)


def _generation(vlm: PreTrainedModel, tokenizer: Any) -> GenerationConfig:
    """Return greedy settings; an answer ends where a turn does, or as the host's own do."""
    own: Any = vlm.generation_config
    stored = own.eos_token_id if own is not None else None
    ends = [
        tokenizer.convert_tokens_to_ids(TURN_END),
        tokenizer.eos_token_id,
        *(stored if isinstance(stored, list) else [stored]),
    ]
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys(end for end in ends if end is not None)),
        pad_token_id=tokenizer.pad_token_id,
    )
