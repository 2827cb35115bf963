"""What `fo1 doctor` says of the vision-language model inside a model, or of one that has no region tokens yet."""

from pathlib import Path
from typing import Any

from PIL import Image

from fo1.errors import CheckpointError

SIZE = (640, 480)


def describe_host(folder: Path) -> str:
    """Return family, maps, strides, tokens of a picture, and what the model goes without; its weights are not read.

    Raises:
        FO1Error: the family is unknown, the files do not fit together, or there are no region tokens yet.
    """
    from fo1.models import FO1Processor
    from fo1.pipeline.hosts import is_host, read_host
    from fo1.pipeline.loading import load_config

    if is_host(folder):
        config, image_processor = read_host(folder)
        raise CheckpointError(
            f"{_describe(config, image_processor)}; no region tokens yet: it gets and learns them with "
            "fo1 train stage1 --model FOLDER, see docs/training.md"
        )
    config = load_config(folder)
    image_processor = FO1Processor.from_pretrained(folder).image_processor
    return f"{_describe(config.vlm_config, image_processor)}; {_missing(config)}"


def _describe(config: Any, image_processor: Any) -> str:
    from fo1.models.families import get_family

    family = get_family(config.model_type)
    pictures = family.read_pictures(image_processor, [Image.new("RGB", SIZE)])
    (frame,) = family.frames(image_processor, pictures)
    (text,) = family.texts(image_processor, pictures, "\0")
    blocks = ", ".join(map(str, family.region_layers(config)))
    return (
        f"{family.model_type}: maps of vision blocks {blocks}, {family.map_width(config)} channels, "
        f"{family.map_stride(config)} pixels a cell; a picture of {SIZE[0]} x {SIZE[1]} is seen as "
        f"{frame[0]} x {frame[1]} and takes {text.count(chr(0))} tokens"
    )


def _missing(config: Any) -> str:
    region = config.region_config
    parts = {
        "maps of the host": region.use_host,
        "auxiliary encoder": region.use_auxiliary,
        "score head": config.score_config,
        "pointer": config.pointer_width,
    }
    missing = [name for name, there in parts.items() if not there]
    return f"without {', '.join(missing)}" if missing else "nothing is missing"
