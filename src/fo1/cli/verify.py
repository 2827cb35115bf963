"""What `fo1 verify` says: a line per look, and a block to paste into an issue where one failed."""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fo1
from fo1.errors import InputError
from fo1.models.checkpoints.verification import Status, Verification, verify
from fo1.pipeline.loading import PACKAGED, choose_device, packaged_folder

_PACKAGES = ("torch", "transformers", "safetensors", "tokenizers", "numpy", "pillow")
_HINT = "published figures to reproduce, and what is the same here: docs/parity.md"


def examine(folder: str, *, run: bool, device: str | None) -> Verification:
    """Return what was found in a folder; 'nano' is the one that ships with the package.

    Raises:
        InputError: it is no folder, or the device cannot be used.
    """
    path = packaged_folder() if folder == PACKAGED else Path(folder)
    if not path.is_dir():
        raise InputError(f"'{folder}' is no folder; give the folder that holds the checkpoint")
    return verify(path, run=run, device=choose_device(device) if run else None)


def report(found: Verification, *, as_json: bool = False) -> str:
    """Return the findings as aligned lines and, if one failed, the block for an issue; or one JSON object."""
    if as_json:
        return json.dumps({"ok": found.ok, **_facts(found)}) + "\n"
    width = max(len(finding.name) for finding in found.findings)
    lines = [
        f"{finding.status.ljust(4)}  {finding.name.ljust(width)}  {finding.detail}"
        for finding in found.findings
    ]
    bad = sum(finding.status is Status.FAIL for finding in found.findings)
    lines.append(f"{bad} of {len(lines)} failed" if bad else "all in place")
    lines.append(_HINT)
    if bad:
        lines += ["", "what to report:", *_block(found)]
    return "\n".join(lines) + "\n"


def _facts(found: Verification) -> dict[str, Any]:
    """Return all that was found, without a path of this machine."""
    return {
        "findings": [asdict(finding) for finding in found.findings],
        "versions": _versions(),
        "platform": _platform(),
        "files": dict(found.files),
        "header_sha256": found.header_digest,
        "options": dict(found.options),
        "statistics": dict(found.statistics),
    }


def _block(found: Verification) -> list[str]:
    """Return a compact block for an issue, a subject per line."""
    failed = [finding for finding in found.findings if finding.status is Status.FAIL]
    statistics = {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in found.statistics.items()
    }
    lines = [
        "versions: " + " ".join(f"{name} {number}" for name, number in _versions().items()),
        f"platform: {_platform()}",
        *(f"failed: {finding.name}: {finding.detail}" for finding in failed),
        "files: " + " ".join(f"{_plain(name)}={size}" for name, size in found.files.items()),
        f"header_sha256: {found.header_digest}",
        f"options: {_plain(json.dumps(dict(found.options), default=str))}",
        f"statistics: {_plain(json.dumps(statistics))}",
    ]
    return ["```", *lines, "```"]


def _versions() -> dict[str, str]:
    return {"fo1": fo1.__version__} | {name: version(name) for name in _PACKAGES}


def _platform() -> str:
    return f"python {platform.python_version()}, {platform.platform(terse=True)}"


def _plain(text: str) -> str:
    """Return text that neither a terminal nor the block's fence would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text).replace("```", "'''")
