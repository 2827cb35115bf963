"""Write `evaluation_pictures.json`: hashes, never pixels, of the pictures kept for evaluation.

    python recipes/nano/hash_evaluation_pictures.py OPEN_JSON recipes/nano/evaluation_pictures.json

OPEN_JSON is a COCO-style list whose `images` have `file_name` and `source`; the pictures lie in
the folder of the same name without its ending.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from fo1.data.perceptual_hash import perceptual_hash, views


def main() -> None:
    """Reads the command line and writes the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    entries: list[dict[str, object]] = []
    for record in json.loads(arguments.annotations.read_text("utf-8"))["images"]:
        with Image.open(arguments.annotations.with_suffix("") / record["file_name"]) as image:
            hashes = [perceptual_hash(view) for view in views(image.convert("RGB"))]
        entries.append(
            {
                "file": record["file_name"],
                "source": record["source"],
                "hashes": list(dict.fromkeys(str(h) for h in hashes if h is not None)),
            }
        )
    text = json.dumps({"pictures": entries}, indent=1, ensure_ascii=False)
    arguments.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
