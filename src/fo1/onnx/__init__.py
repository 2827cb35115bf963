"""Detection without Python: `nano` as three ONNX graphs and one manifest, and the same folder run by onnxruntime.

    propose.onnx   picture -> boxes, scores
    encode.onnx    picture, boxes -> image tokens, region embeddings, class evidence
    score.onnx     those and the queries' tokens -> probabilities

`export` needs the extra `onnx`; `OnnxModel` needs onnxruntime alone, no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fo1.onnx.exporting import export
    from fo1.onnx.running import OnnxModel

_LAZY = {"OnnxModel": "fo1.onnx.running", "export": "fo1.onnx.exporting"}

__all__ = ["OnnxModel", "export"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fo1.onnx' has no attribute {name!r}")
