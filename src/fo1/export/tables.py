"""JSON lines and Parquet: a row per picture.

    {"image": "a/cup.jpg", "width": 640, "height": 427,
     "detections": [{"label": "cup", "box": [x1, y1, x2, y2], "score": 0.93, "region": 3,
                     "proposal_score": 0.9, "model_score": 0.96}]}

Boxes are xyxy pixels of the picture; a region is the number of the proposed box.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fo1.errors import MissingExtraError
from fo1.export.picture import LabelledPicture, Write
from fo1.formats.beside import written_beside

GROUP_ROWS: Final = 1024
"""Pictures in a row group."""


@contextmanager
def export_jsonl(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes labels.jsonl."""
    with written_beside(folder / "labels.jsonl") as file:

        def write(picture: LabelledPicture) -> None:
            file.write(json.dumps(_row(picture)).encode() + b"\n")

        yield write


@contextmanager
def export_parquet(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes labels.parquet.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as arrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("--format parquet", "pyarrow", "train") from error
    whole, number = arrow.int64(), arrow.float64()
    found = arrow.struct(
        [
            ("label", arrow.string()),
            ("box", arrow.list_(number)),
            ("score", number),
            ("region", whole),
            ("proposal_score", number),
            ("model_score", number),
        ]
    )
    columns = [("image", arrow.string()), ("width", whole), ("height", whole)]
    schema = arrow.schema([*columns, ("detections", arrow.list_(found))])
    rows: list[dict[str, Any]] = []
    with (
        written_beside(folder / "labels.parquet") as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):

        def flush() -> None:
            if rows:
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
                rows.clear()

        def write(picture: LabelledPicture) -> None:
            row = _row(picture)
            rows.append(row | {"image": picture.name.encode(errors="backslashreplace").decode()})
            if len(rows) == GROUP_ROWS:
                flush()

        yield write
        flush()


def _row(picture: LabelledPicture) -> dict[str, Any]:
    height, width = picture.detections.image_size
    found = picture.detections.to_dicts()
    return {"image": picture.name, "width": width, "height": height, "detections": found}
