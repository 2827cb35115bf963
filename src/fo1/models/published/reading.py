"""A checkpoint in the published on-disk layout, read as it is: config, weights, tokenizer, image processor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from torch import Tensor
from transformers import AddedToken, GenerationConfig, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.errors import CheckpointError
from fo1.models.checks import show, wrong
from fo1.models.configuration import FO1Config
from fo1.models.published.names import published_name_to_ours
from fo1.models.published.options import auxiliary_resize, read_config, unused_tensors
from fo1.models.published.options_table import Options
from fo1.models.tensor_files import check_floating, read_header, read_json, weight_files
from fo1.tags import REGION_PLACEHOLDER

PUBLISHED_MODEL_TYPE = "omchat_qwen2_5_vl"
HOST_PIXELS = (56 * 56, 2048 * 2048)
IMAGE_TOKEN = "<|image_pad|>"
TOKENIZER_CONFIG = "tokenizer_config.json"


class TokenizerError(CheckpointError):
    """The files of a tokenizer are missing or damaged."""


def is_published(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint in the published layout."""
    return read_json(folder / "config.json").get("model_type") == PUBLISHED_MODEL_TYPE


def published_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a published checkpoint with the placeholder token behind all published ones.

    Raises:
        TokenizerError: its files are missing or damaged.
    """

    def load() -> Any:
        tokenizer = Qwen2Tokenizer.from_pretrained(folder)
        add_region_placeholder(tokenizer)
        return tokenizer

    return load_tokenizer(folder, load)


def load_tokenizer(folder: Path, load: Callable[[], Any]) -> Any:
    """Return what `load` makes of a folder's tokenizer files.

    Raises:
        TokenizerError: they are missing or damaged.
    """
    settings, table = folder / TOKENIZER_CONFIG, folder / "tokenizer.json"
    if not settings.is_file():
        raise TokenizerError(f"{settings.name} is missing; download it again")
    try:
        for file in (settings, table):
            if file.is_file() and not read_json(file):
                raise CheckpointError(f"{file.name} holds an empty table; download it again")
        return load()
    except CheckpointError as error:
        raise TokenizerError(str(error)) from error
    except Exception as error:  # the library lets a damaged file break it in any way
        reason = show(f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise TokenizerError(
            f"no tokenizer can be made of {table.name} and {settings.name} ({reason}); download both again"
        ) from error


def published_image_processor(folder: Path, tokenizer: Any = None) -> Any:
    """Return the host's image processor of a published checkpoint; `tokenizer` as in `published_config`."""
    vision = published_config(folder, tokenizer).vlm_config.vision_config
    file = folder / "preprocessor_config.json"
    stored = read_json(file) if file.exists() else {}
    statistics = {key: stored[key] for key in ("image_mean", "image_std") if key in stored}
    for key, values in statistics.items():
        triple = isinstance(values, list) and len(values) == 3
        if not triple or any(type(value) not in (int, float) for value in values):
            raise wrong(f"{file.name}: {key}", values, "three numbers")
    return Qwen2VLImageProcessorPil(
        **statistics,
        # parity: the reference overrides the limits in preprocessor_config.json.
        min_pixels=HOST_PIXELS[0],
        max_pixels=HOST_PIXELS[1],
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
    )


def add_region_placeholder(tokenizer: Any) -> None:
    """Add the placeholder token `<regionfeat>` to a tokenizer, in place."""
    tokenizer.add_tokens(
        [AddedToken(REGION_PLACEHOLDER, special=True, normalized=False)], special_tokens=True
    )


def published_config(folder: Path, tokenizer: Any = None) -> FO1Config:
    """Return our config for a published checkpoint.

    Args:
        folder: the checkpoint.
        tokenizer: its tokenizer, where it is loaded already.

    Raises:
        CheckpointError: an option is missing, of the wrong type, unknown, or contradicts another.
    """
    if tokenizer is None:
        tokenizer = published_tokenizer(folder)
    placeholder, image = tokenizer.convert_tokens_to_ids([REGION_PLACEHOLDER, IMAGE_TOKEN])
    raw = read_json(folder / "config.json")
    rows = Options(raw).count("vocab_size")
    if placeholder >= rows:
        raise CheckpointError(
            f"the tokenizer fills all {rows} embedding rows, none is left for {REGION_PLACEHOLDER}; "
            "resize the embeddings of the checkpoint first"
        )
    config = read_config(raw, placeholder)
    told = cast(Any, config.vlm_config).image_token_id
    if told != image:
        raise CheckpointError(
            f"config.json: image_token_id is {told}, but {IMAGE_TOKEN} is {image} in the tokenizer; "
            "they do not belong together, download both again"
        )
    return config


def published_auxiliary_resize(folder: Path) -> str:
    """Return how a published checkpoint has pictures resized for the auxiliary encoder."""
    return auxiliary_resize(read_json(folder / "config.json"))


def published_generation_config(folder: Path) -> GenerationConfig:
    """Return the generation settings of a published checkpoint; decoding is greedy, as in the reference."""
    file = folder / "generation_config.json"
    if not file.exists():
        return GenerationConfig()
    settings = read_json(file)
    try:
        return GenerationConfig.from_dict(settings)
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{file.name} cannot be used ({reason}); download it again"
        ) from error


@dataclass(frozen=True, slots=True)
class NamePlan:
    """What becomes of the tensors of a published checkpoint.

    Attributes:
        ours: our name of each stored one that is used.
        unused: those that the mode never reads.
        strays: those without a place, and why.
    """

    ours: dict[str, str]
    unused: tuple[str, ...]
    strays: dict[str, str]

    def check(self) -> None:
        """Check that every tensor has a place.

        Raises:
            CheckpointError: one has none.
        """
        for reason in self.strays.values():
            raise CheckpointError(reason)


def plan_names(stored: Iterable[str], raw: dict[str, Any]) -> NamePlan:
    """Return what becomes of tensors.

    Args:
        stored: their published names.
        raw: the published config.json.
    """
    prefixes = unused_tensors(raw)
    ours: dict[str, str] = {}
    unused: list[str] = []
    strays: dict[str, str] = {}
    taken: set[str] = set()
    for name in stored:
        if name.startswith(prefixes):
            unused.append(name)
            continue
        try:
            own = published_name_to_ours(name)
        except CheckpointError as error:
            strays[name] = str(error)
            continue
        if own in taken:
            strays[name] = f"tensor {name!r} is stored twice; download the checkpoint again"
        else:
            ours[name] = own
            taken.add(own)
    return NamePlan(ours, tuple(unused), strays)


def published_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a published checkpoint that its mode uses under our names, each read once."""
    files = weight_files(folder)
    stored = {name: info for file in files for name, info in read_header(file).items()}
    check_floating(stored)
    plan = plan_names(stored, read_json(folder / "config.json"))
    plan.check()
    weights: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in set(tensors.keys()) & plan.ours.keys():
                weights[plan.ours[name]] = tensors.get_tensor(name)
    return weights
