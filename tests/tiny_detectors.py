"""Tiny random detectors of transformers, saved with their processors as downloads are; nothing is downloaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    BertConfig,
    CLIPTextConfig,
    DeformableDetrImageProcessorPil,
    DetrConfig,
    DetrImageProcessorPil,
    DFineConfig,
    GroundingDinoConfig,
    GroundingDinoImageProcessorPil,
    HGNetV2Config,
    MMGroundingDinoConfig,
    OmDetTurboConfig,
    Owlv2Config,
    Owlv2ImageProcessorPil,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    ResNetConfig,
    RfDetrConfig,
    RTDetrConfig,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    RTDetrV2Config,
    SwinConfig,
)
from transformers.models.rf_detr.configuration_rf_detr import RfDetrDinov2Config

NAMES = {0: "cat", 1: "cup", 2: "dog"}
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", ".", "a", "cat", "cup", "dog", "red", "detect", ","]
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
SIDE = 64
SMALL_ENCODER = {
    "encoder_layers": 1,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
SMALL_TEXT = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 32,
}


def _rt_detr(kind: type[PreTrainedConfig], backbone: PreTrainedConfig) -> PreTrainedConfig:
    return kind(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[16, 16, 16],
        d_model=16,
        num_queries=20,
        decoder_in_channels=[16, 16, 16],
        decoder_layers=2,
        num_denoising=0,
        id2label=NAMES,
        **SMALL_ENCODER,
    )


def _resnet() -> PreTrainedConfig:
    return RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def _hgnet() -> PreTrainedConfig:
    return HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 16],
        stage_mid_channels=[8] * 4,
        stage_out_channels=[8, 16, 16, 16],
        stage_num_blocks=[1] * 4,
        stage_numb_of_layers=[1] * 4,
        stage_kernel_size=[3] * 4,
        stage_downsample=[False, True, True, True],
        stage_light_block=[False] * 4,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1] * 4,
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )


def _rf_detr() -> PreTrainedConfig:
    backbone = RfDetrDinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        num_windows=2,
        out_features=["stage1", "stage2"],
    )
    return RfDetrConfig(
        backbone_config=backbone,
        d_model=16,
        num_queries=10,
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        decoder_n_points=2,
        group_detr=1,
        intermediate_size=16,
        id2label=NAMES,
    )


def _detr() -> PreTrainedConfig:
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        layer_type="basic",
        out_features=["stage4"],
    )
    return DetrConfig(
        backbone_config=backbone,
        d_model=16,
        decoder_layers=1,
        num_queries=20,
        id2label=NAMES,
        **SMALL_ENCODER,
    )


def _swin() -> PreTrainedConfig:
    return SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )


def _grounding(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    return kind(
        backbone_config=_swin(),
        text_config=BertConfig(hidden_size=16, max_position_embeddings=64, **SMALL_TEXT),
        d_model=32,
        decoder_layers=2,
        num_queries=20,
        max_text_len=24,
        **SMALL_ENCODER,
    )


def _owl() -> PreTrainedConfig:
    vision = {**SMALL_TEXT, "hidden_size": 16, "image_size": SIDE, "patch_size": 16}
    text = {
        **SMALL_TEXT,
        **{"hidden_size": 16, "max_position_embeddings": 16},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    }
    vision.pop("vocab_size")
    return Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)


def _omdet() -> PreTrainedConfig:
    text = CLIPTextConfig(
        hidden_size=24,
        max_position_embeddings=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **SMALL_TEXT,
    )
    return OmDetTurboConfig(
        backbone_config=_swin(),
        apply_layernorm_after_vision_backbone=False,
        text_config=text,
        image_size=SIDE,
        text_projection_in_dim=24,
        text_projection_out_dim=24,
        class_embed_dim=24,
        task_encoder_hidden_dim=16,
        num_queries=20,
        encoder_hidden_dim=16,
        vision_features_channels=[16, 16, 16],
        encoder_in_channels=[16, 32, 64],
        encoder_attention_heads=2,
        encoder_dim_feedforward=16,
        decoder_hidden_dim=16,
        decoder_num_heads=2,
        decoder_num_layers=1,
        decoder_dim_feedforward=16,
    )


def _sized(kind: Any, side: int = SIDE) -> Any:
    return kind(size={"height": side, "width": side})


CLASSES: dict[str, tuple[Callable[[], PreTrainedConfig], Callable[[], Any]]] = {
    "rt_detr": (lambda: _rt_detr(RTDetrConfig, _resnet()), lambda: _sized(RTDetrImageProcessorPil)),
    "rt_detr_v2": (
        lambda: _rt_detr(RTDetrV2Config, _resnet()),
        lambda: _sized(RTDetrImageProcessorPil),
    ),
    "d_fine": (lambda: _rt_detr(DFineConfig, _hgnet()), lambda: _sized(RTDetrImageProcessorPil)),
    "detr": (_detr, lambda: DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})),
    "rf_detr": (_rf_detr, lambda: _sized(DeformableDetrImageProcessorPil, 56)),
}
"""Config and image processor of detectors with a list of classes, by model_type."""

PROMPTED: dict[str, tuple[Callable[[], PreTrainedConfig], Callable[[], Any]]] = {
    "grounding-dino": (
        lambda: _grounding(GroundingDinoConfig),
        lambda: _sized(GroundingDinoImageProcessorPil, 128),
    ),
    "mm-grounding-dino": (
        lambda: _grounding(MMGroundingDinoConfig),
        lambda: _sized(GroundingDinoImageProcessorPil, 128),
    ),
    "owlv2": (_owl, lambda: _sized(Owlv2ImageProcessorPil)),
    "omdet-turbo": (_omdet, lambda: _sized(DetrImageProcessorPil)),
}
"""The same of detectors that are prompted with text."""


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words, framed as BERT does."""
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made = PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)
    from tokenizers.processors import TemplateProcessing

    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


def save_detector(folder: Path, model_type: str) -> Path:
    """Return the folder with a detector of that kind; weights are wide, so that pictures and words change boxes."""
    torch.manual_seed(0)
    config, processor = {**CLASSES, **PROMPTED}[model_type]
    prompted = model_type in PROMPTED
    kind = AutoModelForZeroShotObjectDetection if prompted else AutoModelForObjectDetection
    model = kind.from_config(config())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "offset" not in name:
                weights.normal_(0, weights[0].numel() ** -0.5)
    model.save_pretrained(folder)
    processor().save_pretrained(folder)
    if prompted:
        tokenizer().save_pretrained(folder)
    if model_type == "rf_detr":  # whose processor exists with torchvision alone
        file = folder / "preprocessor_config.json"
        settings = json.loads(file.read_text())
        file.write_text(json.dumps({**settings, "image_processor_type": "RfDetrImageProcessor"}))
    return folder
