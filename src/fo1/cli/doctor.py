"""Is everything in place? One line per part, with the cure where it is not."""

import importlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

import fo1

OLDEST_PYTHON = (3, 11)
NEEDED = ("numpy", "pillow", "safetensors", "tokenizers", "torch", "tqdm", "transformers")
NANO_FILES = (
    "config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "ssd.safetensors",
    "lexicon.json.gz",
    "vocabulary.txt",
)
_MODULES = {"pillow": "PIL"}
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found.

    Attributes:
        name: the part that was looked at.
        ok: whether it can be used.
        detail: what was found and, if it cannot be used, the cure; one line.
    """

    name: str
    ok: bool
    detail: str


def examine(model: str, device: str | None, proposer: str | None = None) -> list[Check]:
    """Return what was found, part by part; the picture is tried only if all else is in place.

    Args:
        model: name of the model.
        device: where it runs.
        proposer: where boxes come from; the model's own if None.
    """
    checks = [
        _look("fo1", lambda: f"{fo1.__version__} in {Path(fo1.__file__).parent}"),
        _look("python", _python),
        *(_look(name, lambda name=name: _package(name)) for name in NEEDED),
        _look("torchvision", _torchvision),
    ]
    if all(check.ok for check in checks):
        checks += [
            _look("device", lambda: _device(device)),
            _look("model", lambda: _model_files(model)),
        ]
        if checks[-1].ok:
            checks.append(_look("host", lambda: _host(model)))
    if all(check.ok for check in checks):
        checks.append(_look("picture", lambda: _try_picture(model, device, proposer)))
    return checks


def report(checks: Sequence[Check], *, as_json: bool = False) -> str:
    """Return the checks as aligned lines, or as one JSON object."""
    good = all(check.ok for check in checks)
    if as_json:
        return json.dumps({"ok": good, "checks": [asdict(check) for check in checks]}) + "\n"
    width = max(len(check.name) for check in checks)
    lines = [
        f"{'ok  ' if check.ok else 'FAIL'}  {check.name.ljust(width)}  {check.detail}"
        for check in checks
    ]
    bad = sum(not check.ok for check in checks)
    lines.append("all in place" if good else f"{bad} of {len(checks)} failed")
    return "\n".join(lines) + "\n"


class _Broken(Exception):
    """A part cannot be used; the text says why and names the cure."""


def _look(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name, True, find())
    except Exception as error:  # a doctor reports whatever is wrong, foreseen or not
        words = " ".join(str(error).split())[:300]
        foreseen = isinstance(error, _Broken | fo1.FO1Error)
        return Check(name, False, words if foreseen else f"{type(error).__name__}: {words}")


def _python() -> str:
    found = f"{platform.python_version()} on {platform.platform(terse=True)}"
    if sys.version_info < OLDEST_PYTHON:
        raise _Broken(f"{found}; install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    return found


def _package(name: str) -> str:
    """Return the version of a package that can be imported and suits fo1."""
    try:
        found = version(name)
    except PackageNotFoundError as error:
        raise _Broken(f"not installed; run: pip install {name}") from error
    bounds = _bounds(name)
    for relation, bound in bounds:
        newer = _numbers(found) >= _numbers(bound)
        if newer != (relation == ">="):
            wanted = ",".join(f"{r}{b}" for r, b in bounds)
            raise _Broken(f"{found}, need {wanted}; run: pip install '{name}{wanted}'")
    importlib.import_module(_MODULES.get(name, name))
    return found


def _bounds(name: str) -> list[tuple[str, str]]:
    """Return the versions of a package that fo1 asks for."""
    try:
        wanted = requires("fo1") or []
    except PackageNotFoundError:  # a source tree that was never installed
        return []
    own = [w for w in wanted if re.match(rf"{name}\b", w, re.IGNORECASE) and "extra" not in w]
    return [pair for text in own for pair in _BOUND.findall(text)]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def _torchvision() -> str:
    """Return that torchvision, which transformers imports where it finds it, does no harm."""
    if find_spec("torchvision") is None:
        return "not installed, not needed"
    # In a process of its own: a half-imported package would stay behind, and some builds crash.
    command = [sys.executable, "-c", "import torchvision"]
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it crashes"])[-1][:160]
        raise _Broken(f"broken ({reason}); fo1 does not need it: run: pip uninstall torchvision")
    return "works, not needed"


def _device(device: str | None) -> str:
    import torch

    from fo1.pipeline.loading import choose_device

    chosen = choose_device(device)
    if chosen.type == "cuda":
        return f"{chosen}, {torch.cuda.get_device_name(chosen)}"
    return f"{chosen}, torch uses {torch.get_num_threads()} of {os.cpu_count()} cores"


def _model_files(model: str) -> str:
    """Return that all files of a model are there and no weights are cut off."""
    from safetensors import SafetensorError, safe_open

    from fo1.pipeline.loading import PACKAGED, find_model

    folder = find_model(model)
    needed = NANO_FILES if model == PACKAGED else ("config.json",)
    cure = "run: pip install --force-reinstall fo1" if model == PACKAGED else "download it again"
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise _Broken(f"{folder} lacks {', '.join(missing)}; {cure}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise _Broken(f"{folder} holds no safetensors file; {cure}")
    for file in weights:
        try:
            with safe_open(file, framework="np"):
                pass
        except SafetensorError as error:
            raise _Broken(f"{file} is damaged; {cure}") from error
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return f"{model} in {folder}, {size / 1e6:.0f} MB"


def _host(model: str) -> str:
    """Return what the model's host shows of a picture."""
    from fo1.cli.host import describe_host
    from fo1.pipeline.loading import find_model

    return describe_host(find_model(model))


def _try_picture(model: str, device: str | None, proposer: str | None) -> str:
    """Return how long it takes to look for something in a drawn picture."""
    from fo1.pipeline import FO1

    picture = Image.new("RGB", (320, 240), (225, 235, 245))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 60, 150, 150), fill=(245, 140, 20))
    pen.rectangle((190, 90, 280, 190), fill=(40, 90, 190))
    start = time.perf_counter()
    loaded = FO1.from_pretrained(model, device=device, proposer=proposer)
    middle = time.perf_counter()
    boxes = [[60, 60, 150, 150], [190, 90, 280, 190]]
    own = len(loaded.propose(picture))
    loaded.encode(picture, boxes).detect(["orange", "box"])
    end = time.perf_counter()
    return f"{own} boxes by {loaded.get_proposer().name}; load {middle - start:.1f} s, answer {end - middle:.1f} s"
