"""What the options of the published config.json mean, each read with its type and the authors' own default.

Source: option names and defaults of om-ai-lab/VLM-FO1; see docs/parity.md.
"""

from pathlib import PurePosixPath
from typing import Any, cast

from transformers import Florence2VisionConfig

from fo1.errors import CheckpointError
from fo1.geometry import AUXILIARY_RESIZES
from fo1.models.checks import need_divisor, wrong
from fo1.models.configuration import MOST_BINS, FO1Config, RegionEncoderConfig
from fo1.models.published.host import host_config
from fo1.models.published.options_table import Options


def _davit(width: int, heads: int) -> dict[str, Any]:
    return {
        "depths": [1, 1, 9, 1],
        "embed_dim": [width * 2**stage for stage in range(4)],
        "num_heads": [heads * 2**stage for stage in range(4)],
        "num_groups": [heads * 2**stage for stage in range(4)],
        "patch_size": [7, 3, 3, 3],
        "patch_stride": [4, 2, 2, 2],
        "patch_padding": [3, 1, 1, 1],
        "patch_prenorm": [False, True, True, True],
        "window_size": 12,
        "drop_path_rate": 0.1,
    }


DAVIT_SIZES: dict[str, dict[str, Any]] = {
    "davit-base": _davit(128, 4),
    "davit-large": _davit(256, 8),
}

# The authors' code gives each source an embedding of a fixed width, 2880 and 5120, that fits neither.
_BROKEN = ("concat_sep_pos", "mean_sep_pos", "concat_sep_no_vt_pos", "mean_sep_no_vt_pos")
_COMBINATIONS = ("concat", "concat_aux_pos", "mean", "mean_aux_pos")
_STRATEGIES = ("bbox_based", "feature_map_based", "hybrid")
_EXTRACTOR = "model.object_vp_extractor."


def read_config(raw: dict[str, Any], placeholder: int) -> FO1Config:
    """Return our config of a published one.

    Args:
        raw: the published config.json.
        placeholder: token id of the region placeholder.

    Raises:
        CheckpointError: an option is missing, of the wrong type, unknown, or contradicts another.
    """
    options = Options(raw)
    auxiliary_resize(raw)
    if not options.flag("mm_use_region_index_token"):
        raise CheckpointError(
            "config.json sets mm_use_region_index_token to False; such a model reads no regions, use another"
        )
    host = host_config(options)
    image_projector = options.projector("mm_projector_type")
    if image_projector != "identity":
        given, made = options.count("mm_hidden_size"), cast(Any, host.vision_config).out_hidden_size
        if given != made:
            raise CheckpointError(
                f"config.json: mm_hidden_size is {given}, but image tokens have width {made} "
                "(vision_config.out_hidden_size); make them equal"
            )
    return FO1Config(
        vlm_config=host,
        region_config=_region_config(options, host),
        image_projector=image_projector,
        region_placeholder_id=placeholder,
        num_region_tokens=options.count("mm_num_region_tokens", 100),
        tie_word_embeddings=options.flag("tie_word_embeddings", False),
    )


def auxiliary_resize(raw: dict[str, Any]) -> str:
    """Return how pictures are resized for the auxiliary encoder, one of `geometry.AUXILIARY_RESIZES`."""
    # parity: `aux_image_size` is stored as well, but never read.
    return Options(raw).choice("aux_image_aspect_ratio", AUXILIARY_RESIZES)


def unused_tensors(raw: dict[str, Any]) -> tuple[str, ...]:
    """Return how the names begin of tensors that are stored in this mode but take no part in the result."""
    options = Options(raw)
    uses_host, host_only = _sources(options)
    unused = []
    if host_only:
        unused.append("model.vision_tower_aux.")
        if options.flag("mm_apply_region_layer_norm", False):
            unused.append(f"{_EXTRACTOR}vt_region_norm.")  # made, but this mode returns before it
    if not uses_host and options.flag("mm_use_simpleFPN_for_vt", False):
        unused.append(f"{_EXTRACTOR}simple_fpn.")
    if uses_host and _combination(options).startswith("mean"):
        # The mean is taken without it.
        unused.append(f"{_EXTRACTOR}vision_tower_region_feature_projector.")
    return tuple(unused)


def _sources(options: Options) -> tuple[bool, bool]:
    """Return whether the host's maps are used, and whether they are used alone."""
    uses_host = options.flag("mm_use_vision_tower_region_feature", False)
    host_only = options.flag("mm_use_vt_region_feature_only", False)
    if host_only and not uses_host:
        raise CheckpointError(
            "config.json sets mm_use_vt_region_feature_only to True but mm_use_vision_tower_region_feature "
            "to False; regions would have no features, set both to True"
        )
    return uses_host, host_only


def _combination(options: Options) -> str:
    key = "mm_region_feature_combination"
    found = options.value(key, "concat")
    if found not in _BROKEN:
        return options.choice(key, _COMBINATIONS, "concat")
    _, host_only = _sources(options)
    if not host_only:  # with one source there is nothing to combine
        raise CheckpointError(
            f"config.json: {key} is {found!r}, which no model can run with: the authors' code adds embeddings "
            f"of fixed widths, 2880 and 5120, that fit no encoder; use one of {', '.join(_COMBINATIONS)}"
        )
    return found


def _region_config(options: Options, host: Any) -> RegionEncoderConfig:
    uses_host, host_only = _sources(options)
    combination = _combination(options)
    both = uses_host and not host_only
    strategy = options.choice("mm_pos_embedding_strategy", _STRATEGIES, "bbox_based")
    embeds = options.flag("mm_apply_position_embedding", True)
    norms = options.flag("mm_apply_region_layer_norm", False)
    pyramid = options.flag("mm_use_simpleFPN_for_vt", False)
    in_auxiliary_frame = not uses_host or (both and combination.endswith("_aux_pos"))
    vision = host.vision_config
    davit = None if host_only else _davit_config(options)
    region = RegionEncoderConfig(
        auxiliary_config=davit,
        use_auxiliary=not host_only,
        use_host=uses_host,
        host_width=vision.hidden_size,
        # parity: strides of the pyramid's levels are constants.
        host_stride=14 if pyramid else vision.patch_size,
        host_levels=len(vision.fullatt_block_indexes),
        use_pyramid=pyramid,
        pyramid_width=options.count("mm_simple_fpn_out_channels", 512),
        output_size=options.count("mm_roi_output_size", 7, most=MOST_BINS),
        layer_norm=norms and not host_only,
        combination="mean" if both and combination.startswith("mean") else "concat",
        # parity: with the host's maps alone, the box is embedded whatever the strategy.
        box_embedding=embeds and (host_only or strategy != "feature_map_based"),
        box_frame="auxiliary" if in_auxiliary_frame else "host",
        map_embedding=embeds and not host_only and strategy != "bbox_based",
        projector=options.projector("mm_projector_aux_type"),
        output_width=options.count("hidden_size"),
    )
    given = options.count("mm_region_hidden_size")
    made = region.region_width(sum(davit.embed_dim) if davit else 0)
    if given != made:
        raise CheckpointError(
            f"config.json: mm_region_hidden_size is {given}, but the other options make region features of "
            f"width {made}; correct the one or the others"
        )
    return region


def _davit_config(options: Options) -> Florence2VisionConfig:
    name = PurePosixPath(options.text("mm_vision_tower_aux")).name.replace(".pth", "")
    if options.raw.get("aux_vision_config") is None:
        if name not in DAVIT_SIZES:
            raise CheckpointError(
                f"config.json names the auxiliary encoder {name!r}; known: {', '.join(DAVIT_SIZES)}"
            )
        return Florence2VisionConfig(**DAVIT_SIZES[name])
    table = options.table("aux_vision_config")
    widths = table.numbers("dim_embed" if "dim_embed" in table.raw else "embed_dim")
    sizes: dict[str, Any] = {"embed_dim": widths}
    for key in ("depths", "num_heads", "num_groups", "patch_size", "patch_stride", "patch_padding"):
        sizes[key] = table.numbers(key, least=0 if key == "patch_padding" else 1)
    sizes["patch_prenorm"] = table.value("patch_prenorm")
    for key, values in sizes.items():
        if not isinstance(values, list) or len(values) != 4:
            raise wrong(f"{table.where}: {key}", values, "one value for each of 4 stages")
        if key in ("num_heads", "num_groups"):
            for width, value in zip(widths, values, strict=True):
                need_divisor(f"{table.where}: {key}", value, width)
    return Florence2VisionConfig(
        **sizes,
        window_size=table.count("window_size", 12),
        drop_path_rate=table.value("drop_path_rate", 0.1),
    )
