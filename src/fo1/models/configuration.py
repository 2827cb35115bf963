"""Configuration that is saved with the weights.

FO1Config
  vlm_config            the unmodified host, any `AutoModelForImageTextToText` config
  region_config         RegionEncoderConfig
    auxiliary_config      Florence2VisionConfig (DaViT) or LightEncoderConfig
  score_config          ScoreHeadConfig or None
"""

import re
from typing import Any, ClassVar

from transformers import AutoConfig, Florence2VisionConfig, PreTrainedConfig

from fo1.errors import CheckpointError

PROJECTOR_PATTERN = re.compile(r"identity|linear|mlp([1-9])x_gelu")


class LightEncoderConfig(PreTrainedConfig):
    """Two small convolutional encoders with open weights: an ImageNet classifier and a COCO detector.

    Args:
        sides: long sides, in pixels, at which the classifier sees the picture; each box is pooled where it fits best.
        target_side: the side, in pixels, that a box should have on the map it is pooled from.
        imagenet_classes: classes of the classifier's read-out.
        coco_classes: classes of the detector's dense class maps; 0 leaves the detector out.
    """

    model_type = "fo1_light_encoder"

    def __init__(
        self,
        sides: tuple[int, ...] = (320, 512, 768),
        target_side: int = 160,
        imagenet_classes: int = 1000,
        coco_classes: int = 80,
        **kwargs: Any,
    ):
        self.sides = list(sides)
        self.target_side = target_side
        self.imagenet_classes = imagenet_classes
        self.coco_classes = coco_classes
        super().__init__(**kwargs)


AUXILIARY_CONFIGS = {
    Florence2VisionConfig.model_type: Florence2VisionConfig,
    LightEncoderConfig.model_type: LightEncoderConfig,
}


class RegionEncoderConfig(PreTrainedConfig):
    """Settings of the hybrid fine-grained region encoder (HFRE) and of the projector behind it.

    Args:
        auxiliary_config: config of the auxiliary encoder.
        host_width: channels of the host's feature map.
        host_stride: pixels per cell of the host's feature map.
        host_levels: how many of the host's feature maps are used when there is no pyramid.
        use_pyramid: build four levels from the host's last map instead of using its recorded maps directly.
        pyramid_width: channels of each pyramid level.
        output_size: RoIAlign bins per axis.
        projector: "identity", "linear" or "mlpNx_gelu".
        output_width: width of a region embedding, the language model's hidden size.
    """

    model_type = "fo1_region_encoder"
    sub_configs: ClassVar[Any] = {"auxiliary_config": AutoConfig}

    def __init__(
        self,
        auxiliary_config: PreTrainedConfig | dict[str, Any] | None = None,
        host_width: int = 1280,
        host_stride: int = 14,
        host_levels: int = 4,
        use_pyramid: bool = True,
        pyramid_width: int = 512,
        output_size: int = 7,
        projector: str = "mlp2x_gelu",
        output_width: int = 2048,
        **kwargs: Any,
    ):
        if isinstance(auxiliary_config, dict):
            kind = auxiliary_config.get("model_type", Florence2VisionConfig.model_type)
            if kind not in AUXILIARY_CONFIGS:
                raise CheckpointError(
                    f"auxiliary encoder {kind!r} is unknown; use one of {', '.join(AUXILIARY_CONFIGS)}"
                )
            auxiliary_config = AUXILIARY_CONFIGS[kind](**auxiliary_config)
        if not PROJECTOR_PATTERN.fullmatch(projector):
            raise CheckpointError(
                f"region projector {projector!r} is unknown; use identity, linear or mlpNx_gelu"
            )
        self.auxiliary_config = auxiliary_config or Florence2VisionConfig()
        self.host_width = host_width
        self.host_stride = host_stride
        self.host_levels = host_levels
        self.use_pyramid = use_pyramid
        self.pyramid_width = pyramid_width
        self.output_size = output_size
        self.projector = projector
        self.output_width = output_width
        super().__init__(**kwargs)


class ScoreHeadConfig(PreTrainedConfig):
    """Settings of the score head.

    Args:
        width: width of the space in which region states and query states meet.
        evidence_sources: names of the class vocabularies whose probabilities the auxiliary encoder reads out.
        evidence_gains: per source (1 if left out), what its pooled class probability is multiplied by to
            be the chance that the region shows the class; a detector's, averaged over the middle of a
            box, lies well under its peak.
    """

    model_type = "fo1_score_head"

    def __init__(
        self,
        width: int = 256,
        evidence_sources: tuple[str, ...] = (),
        evidence_gains: tuple[float, ...] = (),
        **kwargs: Any,
    ):
        self.width = width
        self.evidence_sources = list(evidence_sources)
        self.evidence_gains = list(evidence_gains)
        super().__init__(**kwargs)


class FO1Config(PreTrainedConfig):
    """Configuration of a host VLM with region tokens.

    Args:
        vlm_config: config of the host.
        region_config: config of the region encoder.
        score_config: config of the score head; None for models without one, such as the published checkpoints.
        image_projector: applied to the host's image tokens; "identity" leaves the host unchanged.
        region_placeholder_id: token id whose embedding is overwritten by a region embedding.
        num_region_tokens: how many index tokens `<region0>` ... the vocabulary holds.
        repeat_regions: whether a region named in the user's text is followed by its embedding once more.
    """

    model_type = "fo1"
    sub_configs: ClassVar[Any] = {
        "vlm_config": AutoConfig,
        "region_config": RegionEncoderConfig,
        "score_config": ScoreHeadConfig,
    }

    def __init__(
        self,
        vlm_config: PreTrainedConfig | dict[str, Any] | None = None,
        region_config: RegionEncoderConfig | dict[str, Any] | None = None,
        score_config: ScoreHeadConfig | dict[str, Any] | None = None,
        image_projector: str = "identity",
        region_placeholder_id: int = 0,
        num_region_tokens: int = 100,
        repeat_regions: bool = False,
        **kwargs: Any,
    ):
        if vlm_config is None:
            vlm_config = {"model_type": "qwen2_5_vl"}
        if isinstance(vlm_config, dict):
            vlm_config = AutoConfig.for_model(**vlm_config)
        if isinstance(region_config, dict):
            region_config = RegionEncoderConfig(**region_config)
        if isinstance(score_config, dict):
            score_config = ScoreHeadConfig(**score_config)
        if not PROJECTOR_PATTERN.fullmatch(image_projector):
            raise CheckpointError(
                f"image projector {image_projector!r} is unknown; use identity, linear or mlpNx_gelu"
            )
        self.vlm_config = vlm_config
        self.region_config = region_config or RegionEncoderConfig()
        self.score_config = score_config
        self.image_projector = image_projector
        self.region_placeholder_id = region_placeholder_id
        self.num_region_tokens = num_region_tokens
        self.repeat_regions = repeat_regions
        kwargs.setdefault("tie_word_embeddings", getattr(vlm_config, "tie_word_embeddings", False))
        super().__init__(**kwargs)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """Return the host's text config, which sets vocabulary, cache and layers."""
        return self.vlm_config.get_text_config(*args, **kwargs)
