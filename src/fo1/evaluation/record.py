"""What a reader needs to repeat a figure: versions, hashes, command, seed, machine, seconds."""

import datetime
import hashlib
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import fo1
from fo1.evaluation.task import AnyTask
from fo1.formats.hashes import hash_files

_PACKAGES = (
    *("torch", "transformers", "numpy", "pillow", "safetensors", "tokenizers"),
    *("faster-coco-eval", "pycocotools"),
)


def hash_data(task: AnyTask) -> str:
    """Return the SHA-256 of a task's annotation files and of what it asks about which picture."""
    total = hashlib.sha256(hash_files(task.files).encode())
    for example in task.examples:
        told = f"{example.key}\0{example.picture}\0{example.requests}\0"
        total.update(told.encode(errors="surrogatepass"))
    return total.hexdigest()


def circumstances(command: Sequence[str], seed: int, seconds: float, **more: Any) -> dict[str, Any]:
    """Return when, where and how a figure was made, ready for JSON.

    Args:
        command: the words that were typed, behind `fo1`.
        seed: of shuffles and resamples.
        seconds: that this run took; a run that was gone on with took more in all.
        more: hashes and whatever else belongs to the run.
    """
    return {
        "command": shlex.join(["fo1", *command]),
        "date": datetime.date.today().isoformat(),
        "seed": seed,
        "seconds": round(seconds, 1),
        "versions": {"fo1": fo1.__version__, "python": platform.python_version(), **_versions()},
        "commit": commit(),
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        **more,
    }


def commit() -> str | None:
    """Return the commit of the checkout that fo1 runs from, "-dirty" behind it if it was changed.

    None where fo1 was installed without its history.
    """
    folder = Path(fo1.__file__).parent
    try:
        told = subprocess.run(
            [
                "git",
                "-C",
                str(folder),
                "describe",
                "--always",
                "--abbrev=40",
                "--dirty",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        tracked = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() if tracked.returncode == 0 else None


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
