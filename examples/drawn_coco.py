"""Draws a folder in COCO's format, to try `fo1 train` where no data set is at hand.

    python examples/drawn_coco.py out/drawn --pictures 160
    fo1 train --data out/drawn --out out/model

By default the things are concepts that the packaged model was never trained on.
"""

import argparse
import json
from pathlib import Path

from fo1.data.pictures import PicturePack
from fo1.data.scenes import SceneGenerator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--names", type=int, default=12)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    pack = PicturePack.open()
    concepts = sorted(pack.held_out)[: args.names]
    draw = SceneGenerator(pack, concepts=concepts, solids=0.0)
    names = sorted(draw.concepts[slug].name for slug in concepts)
    numbers = {name: place for place, name in enumerate(names, 1)}
    images, annotations = [], []
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(1, args.pictures + 1):
        scene = draw(args.seed, number)
        file = f"{number:05d}.jpg"
        scene.image.save(args.out / file, quality=90)
        images.append(
            {
                "id": number,
                "file_name": file,
                "height": scene.image.height,
                "width": scene.image.width,
            }
        )
        for found in scene.objects:
            x1, y1, x2, y2 = map(float, found.box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers[found.name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (args.out / "annotations.json").write_text(json.dumps(table), encoding="utf-8")
    print(f"{len(images)} pictures, {len(annotations)} boxes, {len(names)} names in {args.out}")


if __name__ == "__main__":
    main()
