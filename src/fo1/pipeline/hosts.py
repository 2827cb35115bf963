"""A folder with a host VLM, as its makers published it, becomes one with a model that has region tokens.

The auxiliary encoder is the packaged model's, trained and frozen, with what belongs to it: its lexicon and the weights
of its proposers. One of your own goes through `FO1ForConditionalGeneration.from_vlm`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer

from fo1.errors import CheckpointError, FO1Error, InputError
from fo1.models import FO1Config, FO1ForConditionalGeneration
from fo1.models.families import get_family
from fo1.models.processing import pillow_processor
from fo1.models.published.reading import is_published
from fo1.pipeline.loading import (
    LEXICON_FILE,
    LOADING_ERRORS,
    load_config,
    model_type,
    packaged_folder,
    reason,
)

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a host's image processor is described; the second holds it beside those of other inputs."""
AUXILIARY = "region_encoder.auxiliary."


def is_host(folder: Path) -> bool:
    """Return whether a folder holds a host of a known family without region tokens.

    Raises:
        CheckpointError: its config cannot be read, or is of a family that is not known.
    """
    kind = model_type(folder)
    if kind == FO1Config.model_type or is_published(folder):
        return False
    get_family(kind)
    return True


def read_host(folder: Path) -> tuple[Any, Any]:
    """Return the config of a host's folder and its image processor, which fits it; no weights are read.

    Raises:
        CheckpointError: a file is missing, or describes no image processor.
        InputError: the image processor does not suit the host.
    """
    config: Any = AutoConfig.from_pretrained(folder)
    found = [folder / name for name in PROCESSOR_FILES if (folder / name).is_file()]
    if not found:
        raise CheckpointError(f"{folder} lacks {PROCESSOR_FILES[0]}; download it again")
    try:
        stored = json.loads(found[0].read_text(encoding="utf-8"))
        image_processor = pillow_processor(stored.get("image_processor", stored))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{found[0]} describes no image processor that transformers has on Pillow; download it again"
        ) from error
    try:
        return config, get_family(config.model_type).fit_image_processor(image_processor, config)
    except InputError as error:
        raise InputError(f"{found[0]}: {error}") from error


def add_regions(folder: Path, out: Path, seed: int = 0) -> None:
    """Write the model that a host becomes, not trained yet, with its processor.

    Args:
        folder: of the host.
        out: a new folder.
        seed: of everything that is drawn.

    Raises:
        FO1Error: the host's files do not fit together, or are of a kind that is not known.
    """
    _, image_processor = read_host(folder)
    packaged = packaged_folder()
    try:
        model, processor = FO1ForConditionalGeneration.from_vlm(
            folder,
            tokenizer=AutoTokenizer.from_pretrained(folder),
            image_processor=image_processor,
            auxiliary_config=load_config(packaged).region_config.auxiliary_config,
            seed=seed,
        )
    except FO1Error:
        raise
    except LOADING_ERRORS as error:
        raise CheckpointError(
            f"cannot load {folder} ({reason(error)}); give a complete host: weights, tokenizer, image processor"
        ) from error
    stored = load_file(packaged / "model.safetensors")
    auxiliary = {n.removeprefix(AUXILIARY): w for n, w in stored.items() if n.startswith(AUXILIARY)}
    model.region_encoder.auxiliary.load_state_dict(auxiliary)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    processor.save_pretrained(part)
    shutil.copyfile(packaged / LEXICON_FILE, part / LEXICON_FILE)
    for file in packaged.glob("*.safetensors"):
        if not file.name.startswith("model"):  # of proposers
            shutil.copyfile(file, part / file.name)
    part.replace(out)
