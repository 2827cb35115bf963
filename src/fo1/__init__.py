"""FO1: every proposed box becomes a region token, and a vision-language model answers by naming regions.

    from fo1 import FO1
    scene = FO1.from_pretrained().encode("photo.jpg")
    scene.detect(["cat", "cup"])

Heavy names load on first use, so `import fo1` stays light.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fo1.errors import (
    BoxError,
    CheckpointError,
    FO1Error,
    ImageError,
    InputError,
    MissingExtraError,
    QueryError,
)
from fo1.garbage import collector_paused
from fo1.results import (
    Answer,
    Citation,
    Detection,
    Detections,
    Grounding,
    Proposals,
    RegionText,
)

if TYPE_CHECKING:
    from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor
    from fo1.pipeline import FO1, CountResult, Reply, Scene

_LAZY = {
    "CountResult": "fo1.pipeline",
    "FO1": "fo1.pipeline",
    "Reply": "fo1.pipeline",
    "Scene": "fo1.pipeline",
    "FO1Config": "fo1.models",
    "FO1ForConditionalGeneration": "fo1.models",
    "FO1Processor": "fo1.models",
}

__all__ = [
    "FO1",
    "Answer",
    "BoxError",
    "CheckpointError",
    "Citation",
    "CountResult",
    "Detection",
    "Detections",
    "FO1Config",
    "FO1Error",
    "FO1ForConditionalGeneration",
    "FO1Processor",
    "Grounding",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "Proposals",
    "QueryError",
    "RegionText",
    "Reply",
    "Scene",
    "__version__",
]

try:
    __version__ = version("fo1")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        with collector_paused():
            return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fo1' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
