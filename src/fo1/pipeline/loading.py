"""A model's name to a model in memory, or one line that says what is wrong with it."""

import json
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from fo1.errors import CheckpointError, InputError, MissingExtraError
from fo1.garbage import collector_paused
from fo1.lexicon import Lexicon
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor
from fo1.models.bars import without_bars
from fo1.models.families import FAMILIES
from fo1.models.published.reading import PUBLISHED_MODEL_TYPE, is_published, published_config
from fo1.pipeline.engine import Engine
from fo1.pipeline.vocabulary import Vocabulary

PACKAGED = "nano"
"""The model that ships with the package."""

LEXICON_FILE = "lexicon.json.gz"
VOCABULARY_FILE = "vocabulary.txt"

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_KINDS = f"'{FO1Config.model_type}' or '{PUBLISHED_MODEL_TYPE}'"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.gz"]
LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
"""What the library raises where files of a model are missing or damaged."""


def packaged_folder() -> Path:
    """Return where the files of the packaged model lie."""
    return Path(str(files("fo1").joinpath("assets", PACKAGED)))


def find_model(name: str | Path) -> Path:
    """Return the folder of a model; a hub id is downloaded or taken from the hub's cache.

    Args:
        name: "nano", a folder, or a hub id such as "owner/name".

    Raises:
        CheckpointError: it is none of these, or its files are missing.
    """
    text = str(name)
    if text == PACKAGED:
        folder = packaged_folder()
        if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
            raise CheckpointError(
                f"the files of '{PACKAGED}' are missing in {folder}; "
                "run: pip install --force-reinstall fo1"
            )
        return folder
    folder = Path(text)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{text} holds no config.json; give a folder with a checkpoint")
        return folder
    if folder.exists():
        raise CheckpointError(f"{text} is a file; give the folder that holds the checkpoint")
    if isinstance(name, Path) or not _HUB_ID.fullmatch(text) or text.startswith("."):
        raise CheckpointError(
            f"unknown model '{text}'; give '{PACKAGED}', a folder with a checkpoint, "
            "or a hub id such as owner/name"
        )
    try:
        return Path(snapshot_download(text, allow_patterns=_HUB_FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointError(
            f"model '{text}' is neither a folder here nor on the hub within reach "
            f"({type(error).__name__}); check the name, or give '{PACKAGED}' or a folder"
        ) from error


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device: the one asked for, else CUDA where there is a GPU, else the CPU.

    Raises:
        InputError: torch does not know the device or cannot reach it.
    """
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device '{device}' cannot be used here; give cpu, cuda, cuda:1 or mps, or leave it out"
        ) from error
    return chosen


def load_engine(
    name: str | Path,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
) -> Engine:
    """Return the model of a folder, in our layout or in the published one, ready to answer.

    Args:
        name: what the model is called in results.
        folder: its files.
        device: where it runs.
        dtype: of its weights; bfloat16 on CUDA and float32 elsewhere if not given.
        device_map: spreads the weights over several devices; `device` sets the dtype alone then.

    Raises:
        CheckpointError: a file is missing, damaged or of another kind of model.
        InputError: dtype or device map is none.
        MissingExtraError: a device map needs a package that is not installed.
    """
    _check_placing(dtype, device_map)
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    _check_kind(folder)
    try:
        with collector_paused(), without_bars():
            model = FO1ForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, device_map=device_map
            )
            processor = FO1Processor.from_pretrained(folder)
            loaded = load_lexicon(folder)
            vocabulary = _load_vocabulary(folder, model, processor, loaded)
    except CheckpointError:
        raise
    except LOADING_ERRORS as error:
        raise CheckpointError(
            f"cannot load {folder} ({reason(error)}); give a complete checkpoint "
            f"of model_type {_KINDS}"
        ) from error
    if not isinstance(processor.tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(f"{folder} holds no tokenizer; give a complete checkpoint")
    placed = model if device_map is not None else model.to(device)
    engine = Engine(str(name), placed.eval(), processor, loaded, vocabulary)
    if len(engine.markup.regions) < engine.max_regions:
        raise CheckpointError(
            f"{folder}: config.json counts {engine.max_regions} region tokens, the tokenizer has "
            f"{len(engine.markup.regions)}; take the tokenizer that was saved with the model"
        )
    return engine


def load_config(folder: Path) -> FO1Config:
    """Return the config of a model's folder, in our layout or in the published one, without its weights."""
    return published_config(folder) if is_published(folder) else FO1Config.from_pretrained(folder)


def load_lexicon(folder: Path) -> Lexicon | None:
    """Return the lexicon beside a model, None where it has none."""
    file = folder / LEXICON_FILE
    return Lexicon.load(file) if file.is_file() else None


def model_type(folder: Path) -> str:
    """Return the kind of model that a folder's config names.

    Raises:
        CheckpointError: there is no such config.
    """
    file = folder / "config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CheckpointError(
            f"{file} is not a model's config ({reason(error)}); give a complete checkpoint"
        ) from error


def _check_kind(folder: Path) -> None:
    """Check that a folder is a checkpoint of ours; another would be read as one, and fail oddly."""
    kind = model_type(folder)
    if kind in FAMILIES and not is_published(folder):
        raise CheckpointError(
            f"{folder} holds a host of model_type '{kind}' without region tokens; "
            f"give it some with: fo1 train stage1 --model {folder}"
        )
    if kind not in (FO1Config.model_type, PUBLISHED_MODEL_TYPE):
        raise CheckpointError(
            f"{folder} holds a model of model_type '{kind}'; give one of model_type {_KINDS}"
        )


def _check_placing(dtype: torch.dtype | None, device_map: str | dict[str, Any] | None) -> None:
    """Check how weights are to be held, so that the checkpoint is not blamed for it."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"dtype is {dtype}; give torch.float32, torch.bfloat16 or torch.float16")
    if device_map is None:
        return
    if find_spec("accelerate") is None:
        raise MissingExtraError("device_map", "accelerate", "accelerate")
    if isinstance(device_map, str) and device_map not in _DEVICE_MAPS:
        choose_device(device_map)


def _load_vocabulary(
    folder: Path,
    model: FO1ForConditionalGeneration,
    processor: FO1Processor,
    lexicon: Lexicon | None,
) -> Vocabulary | None:
    """Return the list of names beside a model that can choose from one."""
    file = folder / VOCABULARY_FILE
    if model.score_head is None or not file.is_file():
        return None
    return Vocabulary.load(file, processor, lexicon, model.config.score_config.evidence_sources)


def reason(error: Exception) -> str:
    """Return what an error says, in one line that is not long."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else f"{words[:160]}..."
