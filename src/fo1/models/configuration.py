"""Configuration that is saved with the weights.

FO1Config
  vlm_config            the unmodified host, any `AutoModelForImageTextToText` config
  region_config         RegionEncoderConfig
    auxiliary_config      Florence2VisionConfig (DaViT), LightEncoderConfig, any vision encoder of transformers
  score_config          ScoreHeadConfig or None
"""

from typing import Any, ClassVar

from transformers import AutoConfig, Florence2VisionConfig, PreTrainedConfig

from fo1.errors import CheckpointError
from fo1.models.checks import need_choice, need_count, need_flag, need_projector
from fo1.ordering import ORDERS

COMBINATIONS = ("concat", "mean")
BOX_FRAMES = ("host", "auxiliary")
MOST_BINS = 64
"""RoIAlign bins per axis: the memory of a box grows with their square."""


class LightEncoderConfig(PreTrainedConfig):
    """Two small convolutional encoders with open weights: an ImageNet classifier and a COCO detector.

    Args:
        sides: long sides, in pixels, at which the classifier sees the picture; each box is pooled where it fits best.
        target_side: the side, in pixels, that a box should have on the map it is pooled from.
        imagenet_classes: classes of the classifier's read-out.
        coco_classes: classes of the detector's dense class maps; 0 leaves the detector out.
        objectness_width: channels of the head that finds boxes of anything on the classifier's maps; 0 leaves it out.
        contrasts: keep how the halves of a box differ, on all maps of the classifier but the coarsest.
        familiar_axes: directions along which a region is compared with those that the model learned from; 0 for none.
    """

    model_type = "fo1_light_encoder"

    def __init__(
        self,
        sides: tuple[int, ...] = (320, 512, 768),
        target_side: int = 160,
        imagenet_classes: int = 1000,
        coco_classes: int = 80,
        objectness_width: int = 0,
        contrasts: bool = False,
        familiar_axes: int = 0,
        **kwargs: Any,
    ):
        self.sides = list(sides)
        self.target_side = target_side
        self.imagenet_classes = imagenet_classes
        self.coco_classes = coco_classes
        self.objectness_width = objectness_width
        self.contrasts = contrasts
        self.familiar_axes = familiar_axes
        super().__init__(**kwargs)


AUXILIARY_CONFIGS: dict[str, type[PreTrainedConfig]] = {
    Florence2VisionConfig.model_type: Florence2VisionConfig,
    LightEncoderConfig.model_type: LightEncoderConfig,
}
"""Configs that are found here before the library is asked; `encoders.register_encoder` adds to them."""


class RegionEncoderConfig(PreTrainedConfig):
    """Settings of the hybrid fine-grained region encoder (HFRE) and of the projector behind it.

    Args:
        auxiliary_config: config of the auxiliary encoder, which it names by its `model_type`; see `encoders`.
        use_auxiliary: pool the maps of the auxiliary encoder; without, the model has none.
        use_host: pool the maps of the host's vision encoder.
        host_width: channels of the host's feature map.
        host_stride: pixels per cell of the host's feature map.
        host_levels: how many of the host's feature maps are used when there is no pyramid.
        use_pyramid: build four levels from the host's last map instead of using its recorded maps directly.
        pyramid_width: channels of each pyramid level, also where an auxiliary encoder of one stride has one.
        output_size: RoIAlign bins per axis, at most `MOST_BINS`.
        layer_norm: normalise the pooled auxiliary and host features, each on its own.
        combination: how the two become one, "concat" or "mean".
        box_embedding: add an embedding of the box to the region feature.
        box_frame: whose picture the box is divided by for that, the "host"'s or the "auxiliary" encoder's.
        map_embedding: add an embedding of the place to the auxiliary maps.
        projector: "identity", "linear" or "mlpNx_gelu".
        output_width: width of a region embedding, the language model's hidden size.

    Raises:
        CheckpointError: a setting does not exist, or two contradict each other.
    """

    model_type = "fo1_region_encoder"
    sub_configs: ClassVar[Any] = {"auxiliary_config": AutoConfig}

    def __init__(
        self,
        auxiliary_config: PreTrainedConfig | dict[str, Any] | None = None,
        use_auxiliary: bool = True,
        use_host: bool = True,
        host_width: int = 1280,
        host_stride: int = 14,
        host_levels: int = 4,
        use_pyramid: bool = True,
        pyramid_width: int = 512,
        output_size: int = 7,
        layer_norm: bool = False,
        combination: str = "concat",
        box_embedding: bool = True,
        box_frame: str = "host",
        map_embedding: bool = False,
        projector: str = "mlp2x_gelu",
        output_width: int = 2048,
        **kwargs: Any,
    ):
        if isinstance(auxiliary_config, dict):
            auxiliary_config = _read_auxiliary(auxiliary_config)
        self.use_auxiliary = need_flag("use_auxiliary", use_auxiliary)
        self.auxiliary_config: Any = (
            (auxiliary_config or Florence2VisionConfig()) if use_auxiliary else None
        )
        self.use_host = need_flag("use_host", use_host)
        self.host_width = need_count("host_width", host_width)
        self.host_stride = need_count("host_stride", host_stride)
        self.host_levels = need_count("host_levels", host_levels)
        self.use_pyramid = need_flag("use_pyramid", use_pyramid)
        self.pyramid_width = need_count("pyramid_width", pyramid_width)
        self.output_size = need_count("output_size", output_size, most=MOST_BINS)
        self.layer_norm = need_flag("layer_norm", layer_norm)
        self.combination = need_choice("combination", combination, COMBINATIONS)
        self.box_embedding = need_flag("box_embedding", box_embedding)
        self.box_frame = need_choice("box_frame", box_frame, BOX_FRAMES)
        self.map_embedding = need_flag("map_embedding", map_embedding)
        self.projector = need_projector("region projector", projector)
        self.output_width = need_count("output_width", output_width)
        self._check_sources()
        super().__init__(**kwargs)

    def _check_sources(self) -> None:
        if not (self.use_auxiliary or self.use_host):
            raise CheckpointError(
                "use_auxiliary and use_host are both false; regions need the maps of one of them"
            )
        davit = isinstance(self.auxiliary_config, Florence2VisionConfig)
        if (self.map_embedding or self.box_frame == "auxiliary") and not davit:
            raise CheckpointError(
                "map_embedding and the box_frame 'auxiliary' need the maps of a DaViT, but there is none; "
                "use box_embedding in the box_frame 'host'"
            )
        widths = self.auxiliary_config.embed_dim if self.map_embedding else ()
        if any(width % 4 for width in widths):
            raise CheckpointError(
                f"map_embedding needs maps of widths that are multiples of 4, got {list(widths)}; "
                "use other widths or leave it out"
            )

    @property
    def host_features(self) -> int:
        """Width of a pooled host feature, 0 where the host's maps are not used."""
        if not self.use_host:
            return 0
        return 4 * self.pyramid_width if self.use_pyramid else self.host_levels * self.host_width

    def region_width(self, auxiliary: int) -> int:
        """Return the width of a region feature, before the projector.

        Args:
            auxiliary: width of a pooled auxiliary feature, 0 without auxiliary encoder.

        Raises:
            CheckpointError: the two widths cannot be combined, or the sum cannot hold a box embedding.
        """
        host = self.host_features
        width = auxiliary + host
        if self.combination == "mean" and self.use_host and self.use_auxiliary:
            if auxiliary != host:
                raise CheckpointError(
                    f"auxiliary features of width {auxiliary} and host features of width {host} have no mean; "
                    "use the combination 'concat' or equal widths"
                )
            width = host
        if self.box_embedding and width % 4:
            raise CheckpointError(
                f"a region feature of width {width} cannot hold a box embedding of 4 equal parts; "
                "use a width that is a multiple of 4 or leave the embedding out"
            )
        return width


def _read_auxiliary(values: dict[str, Any]) -> PreTrainedConfig:
    kind = values.get("model_type", Florence2VisionConfig.model_type)
    if kind in AUXILIARY_CONFIGS:
        return AUXILIARY_CONFIGS[kind](**values)
    try:
        return AutoConfig.for_model(**values)
    except ValueError as error:
        raise CheckpointError(
            f"auxiliary encoder {kind!r} is unknown; use one of {', '.join(AUXILIARY_CONFIGS)}, a vision encoder of "
            "transformers, or give one of your own to fo1.models.register_encoder first"
        ) from error


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
        pointer_width: width of the space in which places of an answer meet regions, where index tokens are written by
            pointing (`models.pointing`); 0 for models without that, such as the published checkpoints.
        image_projector: applied to the host's image tokens; "identity" leaves the host unchanged.
        region_placeholder_id: token id whose embedding is overwritten by a region embedding.
        num_region_tokens: how many index tokens `<region0>` ... the vocabulary holds.
        repeat_regions: whether a region named in the user's text is followed by its embedding once more.
        region_order: how training numbered regions, one of `fo1.ordering.ORDERS`; proposals are numbered alike.

    Raises:
        CheckpointError: a setting is of a wrong type or does not exist.
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
        pointer_width: int = 0,
        image_projector: str = "identity",
        region_placeholder_id: int = 0,
        num_region_tokens: int = 100,
        repeat_regions: bool = False,
        region_order: str = "any",
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
        self.vlm_config = vlm_config
        self.region_config = region_config or RegionEncoderConfig()
        self.score_config = score_config
        self.pointer_width = need_count("pointer_width", pointer_width, 0)
        self.image_projector = need_projector("image projector", image_projector)
        self.region_placeholder_id = need_count("region_placeholder_id", region_placeholder_id, 0)
        self.num_region_tokens = need_count("num_region_tokens", num_region_tokens)
        self.repeat_regions = need_flag("repeat_regions", repeat_regions)
        self.region_order = need_choice("region_order", region_order, ORDERS)
        kwargs.setdefault("tie_word_embeddings", getattr(vlm_config, "tie_word_embeddings", False))
        super().__init__(**kwargs)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """Return the host's text config, which sets vocabulary, cache and layers."""
        return self.vlm_config.get_text_config(*args, **kwargs)
