"""A model to a folder that needs no Python: graphs, tokenizer, class lexicon, one manifest, licences.

The new folder is tried with onnxruntime against torch before it gets its name.
"""

import json
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fo1
from fo1.errors import CheckpointError, MissingExtraError
from fo1.geometry import box_iou
from fo1.lexicon import RULES
from fo1.models.checkpoints.convert import COPIED, Conversion, beside
from fo1.models.families import TRACINGS
from fo1.models.light_encoder import LightEncoder
from fo1.onnx.running import FORMAT, MANIFEST, OnnxModel
from fo1.pipeline import FO1
from fo1.pipeline.engine import QUERIES_PER_PASS
from fo1.pipeline.loading import LEXICON_FILE, PACKAGED
from fo1.pipeline.request import DEFAULT_THRESHOLD
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.proposals.combining import UnionProposer
from fo1.proposals.detector import NanoDetProposer, SSDProposer
from fo1.selection import LABEL_CONTAINMENT, LABEL_OVERLAP
from fo1.tags import GROUND_CLOSE, GROUND_OPEN, OBJECTS_OPEN

GRAPHS = {name: f"{name}.onnx" for name in ("propose", "encode", "score")}
TOKENIZER_FILE = "tokenizer.json"
TOLERANCE = 1e-3
"""Largest difference of a probability to torch with which a folder is still written."""
SAME_BOX = 0.9
"""IoU from which two proposals are one."""
REPORT = "please report this with the versions of torch, onnx and onnxruntime"


def export(source: str | Path = PACKAGED, out: str | Path = "nano-onnx") -> Conversion:
    """Return what was written; nothing is left behind when it fails.

    Args:
        source: "nano", a folder or a hub id: a model like nano, with light encoder, lexicon and score head.
        out: a folder that does not exist yet or is empty.

    Raises:
        CheckpointError: there is no such model, it cannot be a graph, or `out` is taken.
        MissingExtraError: a package of the extra `onnx` is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError("export to ONNX", package, "onnx")
    from onnx import ModelProto

    from fo1.onnx.encoding import encoding
    from fo1.onnx.proposing import proposing
    from fo1.onnx.scoring import scoring

    given, target = Path(out), Path(out).resolve()
    with beside(target) as folder:
        fo1_model = FO1.from_pretrained(source, device="cpu")
        proposers = _check(fo1_model)
        model, processor = fo1_model.engine.model, fo1_model.engine.processor
        made: dict[str, ModelProto] = {
            "propose": proposing(proposers, DEFAULT_LIMIT),
            "encode": encoding(model, processor),
            "score": scoring(model, processor),
        }
        for name, graph in made.items():
            (folder / GRAPHS[name]).write_bytes(graph.SerializeToString())
        for file in (TOKENIZER_FILE, LEXICON_FILE):
            shutil.copyfile(fo1_model.folder / file, folder / file)
        text = json.dumps(_manifest(fo1_model), indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        _copy_licences(fo1_model.folder, folder)
        notes = (_tried(fo1_model, folder),)
    files = {file.name: file.stat().st_size for file in sorted(target.iterdir())}
    return Conversion(given, files, (), notes)


def _check(model: FO1) -> tuple[NanoDetProposer | SSDProposer, ...]:
    """Return the detectors that propose, once it is known that the model can be a graph.

    Raises:
        CheckpointError: a part cannot be.
    """
    engine = model.engine
    config, processor = engine.model.config, engine.processor
    light = engine.model.region_encoder.auxiliary
    family = config.vlm_config.model_type
    proposer = model.get_proposer()
    parts = proposer.proposers if isinstance(proposer, UnionProposer) else (proposer,)
    detectors = tuple(one for one in parts if isinstance(one, NanoDetProposer | SSDProposer))
    problem = None
    if family not in TRACINGS:
        problem = f"its host is of the family '{family}', and only {', '.join(TRACINGS)} is traced"
    elif engine.model.score_head is None:
        problem = "it has no score head, so it would have to write its answers"
    elif not isinstance(light, LightEncoder) or light.detector is None:
        problem = "its auxiliary encoder is not the light one with a detector"
    elif not config.region_config.use_host:
        problem = "its regions are made without the host's maps"
    elif engine.lexicon is None or not (model.folder / TOKENIZER_FILE).is_file():
        problem = f"it lacks {LEXICON_FILE} or {TOKENIZER_FILE}"
    elif processor.auxiliary_resize != "dynamic" or config.region_order != "any":
        problem = "its pictures are resized or its regions are ordered in another way"
    elif len(detectors) != len(parts):
        problem = f"its proposer '{proposer.name}' is no detector"
    if problem is not None:
        raise CheckpointError(
            f"{model.name} cannot be exported to ONNX: {problem}; give '{PACKAGED}' or a model like it"
        )
    return detectors


def _manifest(model: FO1) -> dict[str, Any]:
    """Return what a program has to know besides the graphs."""
    engine = model.engine
    ids = engine.processor.tokenizer.convert_tokens_to_ids
    config = engine.model.config.score_config
    return {
        "format": FORMAT,
        "model": model.name if model.name == PACKAGED else model.folder.name,
        "fo1": fo1.__version__,
        "graphs": GRAPHS,
        "proposer": model.get_proposer().name,
        "tokenizer": {
            "file": TOKENIZER_FILE,
            "ground_open": ids(GROUND_OPEN),
            "ground_close": ids(GROUND_CLOSE),
            "objects_open": ids(OBJECTS_OPEN),
        },
        "lexicon": {
            "file": LEXICON_FILE,
            "sources": list(config.evidence_sources),
            "classes": list(engine.model.region_encoder.auxiliary.evidence_widths),
            "rules": RULES,
        },
        "limits": {"regions": engine.max_regions, "queries": QUERIES_PER_PASS},
        "selection": {
            "threshold": DEFAULT_THRESHOLD,
            "overlap": LABEL_OVERLAP,
            "containment": LABEL_CONTAINMENT,
        },
    }


def _copy_licences(source: Path, folder: Path) -> None:
    """Copy the licences of the model's folder and those of the package, weights' sources included."""
    files = [file for pattern in COPIED for file in source.glob(pattern)]
    try:
        own = distribution("fo1")
        files += [
            Path(str(own.locate_file(file)))
            for file in own.files or ()
            if "licenses" in file.parts and file.suffix in ("", ".txt")
        ]
    except PackageNotFoundError:  # a source tree that was never installed
        files += [Path(fo1.__file__).parents[2] / name for name in ("LICENSE", "NOTICE")]
    for file in files:
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def _tried(model: FO1, folder: Path) -> str:
    """Return how far the folder's probabilities lie from torch's on a drawn picture.

    Raises:
        CheckpointError: too far, or another box is proposed first.
    """
    shade = np.linspace(0, 255, 96 * 160 * 3, dtype=np.float32).reshape(96, 160, 3)
    shade[20:70, 40:110] = (200, 40, 30)
    picture = Image.fromarray(shade.astype(np.uint8))
    boxes, queries = [[40, 20, 110, 70], [0, 0, 160, 96], [5, 50, 60, 90]], ["cup", "the red box"]
    exported = OnnxModel(folder)
    best, proposed = model.propose(picture).boxes[:1], exported.propose(picture).boxes
    if not len(proposed) or box_iou(best, proposed).max() < SAME_BOX:
        raise CheckpointError(
            f"the best proposal of {model.name} is not among those of its graph; {REPORT}"
        )
    ours = exported.scores(picture, boxes, queries)
    theirs = model.encode(picture, boxes).scores(queries)
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"the graphs of {model.name} differ from torch by {difference:.1e}; {REPORT}"
        )
    return f"tried with onnxruntime: probabilities differ from torch by at most {difference:.1e}"
