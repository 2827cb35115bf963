"""Is a downloaded checkpoint whole, and is it one that this version can run? No network, little memory first.

    files -> config.json -> headers of the weights, against a model without memory
          -> tokenizer and embedding rows -> (memory permitting) one picture

Each look says what it found in one line and none raises: a folder from elsewhere may hold anything.
"""

from pathlib import Path

import torch

from fo1.errors import CheckpointError
from fo1.models.checkpoints.verification.contents import look_at_tensors, look_at_tokens
from fo1.models.checkpoints.verification.findings import Finding, Status, Verification, look
from fo1.models.checkpoints.verification.layout import (
    Seen,
    header_digest,
    look_at_config,
    look_at_files,
    look_at_weights,
    shown_options,
)
from fo1.models.checkpoints.verification.trial import try_picture
from fo1.models.checkpoints.verification.values import look_at_values, look_at_zeros

__all__ = ["Finding", "Status", "Verification", "verify"]


def verify(
    folder: str | Path, *, run: bool = True, device: torch.device | None = None
) -> Verification:
    """Return what was found in a folder, in our layout or in the published one.

    Args:
        folder: with the files of a checkpoint.
        run: load the model and try a picture, if everything else is well and memory suffices.
        device: where it runs; the CPU if not given.

    Raises:
        CheckpointError: it is no folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CheckpointError(f"{folder} is no folder; give the folder that holds the checkpoint")
    seen = Seen(path)
    findings = look("files", lambda: look_at_files(seen))
    findings += look("config", lambda: look_at_config(seen))
    findings += look("weights", lambda: look_at_weights(seen))
    if seen.config is not None:
        findings += look("config", lambda: look_at_values(seen))
    if seen.config is not None and seen.stored:
        findings += look("tensors", lambda: look_at_tensors(seen))
        findings += look("tensors", lambda: look_at_zeros(seen))
    if seen.config is not None and seen.tokenizer_works:
        findings += look("tokenizer", lambda: look_at_tokens(seen))
    statistics: dict[str, float | str] = {}
    bad = any(finding.status is Status.FAIL for finding in findings)
    if run and not bad:
        place = device or torch.device("cpu")
        findings += look("run", lambda: try_picture(path, seen.stored.values(), place, statistics))
    else:
        why = "something above failed" if bad else "not asked for"
        findings.append(Finding.of("run", Status.NOTE, f"not tried: {why}"))
    return Verification(
        findings=tuple(findings),
        files=dict(sorted(seen.files.items())),
        options=shown_options(seen),
        header_digest=header_digest(seen.stored) if seen.stored else None,
        statistics=statistics,
    )
