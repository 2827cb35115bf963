"""What `fo1 convert` says: the files written, what the new layout has no place for, how far ONNX is from torch."""

import json
from typing import Any

from fo1.errors import InputError
from fo1.models.checkpoints.convert import Conversion, convert
from fo1.pipeline.loading import PACKAGED, packaged_folder


def write(folder: str, out: str, *, layout: str, dtype: str | None) -> Conversion:
    """Return what was written.

    Args:
        folder: the source; 'nano' is the one that ships with the package.
        out: the new folder.
        layout: "fo1", "published" or "onnx".
        dtype: name of a floating type of torch; None keeps what is stored.

    Raises:
        CheckpointError: the source cannot be converted, or `out` is taken.
        InputError: a dtype is given for ONNX.
        MissingExtraError: a package that ONNX needs is not installed.
    """
    if layout == "onnx":
        if dtype is not None:
            raise InputError("--dtype does not go with --to onnx, which stores weights as they are")
        from fo1.onnx import export

        return export(folder, out)
    import torch

    source = packaged_folder() if folder == PACKAGED else folder
    chosen: Any = layout
    return convert(source, out, layout=chosen, dtype=getattr(torch, dtype) if dtype else None)


def report(done: Conversion, *, as_json: bool = False) -> str:
    """Return the files with their sizes, then a line per note; or one JSON object."""
    if as_json:
        facts = {"folder": str(done.folder), "files": done.files, "notes": list(done.notes)}
        return json.dumps(facts) + "\n"
    width = max(map(len, done.files))
    lines = [f"{name.ljust(width)}  {size:>15,} bytes" for name, size in done.files.items()]
    lines += [f"note  {note}" for note in done.notes]
    lines.append(f"{done.folder}: {len(done.files)} files, {sum(done.files.values()):,} bytes")
    return "\n".join(lines) + "\n"
