"""Figures that others published, to stand beside ours; names of figures are those of the tasks.

Sources: the tables of VLM-FO1 (arXiv 2509.25916 and the authors' blog), where other models' figures
are those that its authors print; for the released weights ("VLM-FO1-3B-v01, released weights") the
README of om-ai-lab/VLM-FO1, with public UPN boxes. What is not here was found in neither: there is
no published figure of this method for LVIS detection, gRefCOCO, region captions or POPE.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

_Rows: TypeAlias = Mapping[str, Sequence[float]]

_FO1 = "VLM-FO1-3B"
_RELEASED = "VLM-FO1-3B-v01, released weights"

_DETECTORS: _Rows = {  # COCO AP, ODinW13 AP, OVDEval NMS-AP
    "GLIP": (49.8, 52.1, 18.4),
    "Grounding DINO": (52.5, 55.7, 25.3),
    "OmDet-Turbo": (53.4, 54.1, 25.9),
    _FO1: (44.4, 44.4, 43.7),
}
_COCO_ALONE = {
    "Faster R-CNN": 42.0,
    "DETR": 43.3,
    "DINO": 49.4,
    "GPT-4o": 3.1,
    "InternVL2.5-8B": 12.1,
    "Qwen2.5-VL-7B": 17.7,
    "Lumen": 35.3,
    "Griffon v2": 38.5,
    "Griffon-G-7B": 40.2,
    "ChatRex-7B": 4.3,
    _RELEASED: 44.4,
}
_PRESENT_NAMES_ALONE = {
    "Gemini 1.5 Pro": 36.7,
    "InternVL2.5-8B": 20.2,
    "InternVL2.5-72B": 31.7,
    "Qwen2.5-VL-7B": 37.3,
    "Qwen2.5-VL-72B": 43.1,
    "Griffon-G-7B": 43.8,
}
_REFCOCO: _Rows = {  # RefCOCO val, testA, testB; RefCOCO+ val, testA, testB; RefCOCOg val, test
    "Gemini 1.5 Pro": (73.2, 72.9, 74.6, 62.5, 63.9, 65.0, 75.2, 76.2),
    "Grounding DINO": (90.6, 93.2, 88.2, 88.2, 89.0, 75.9, 86.1, 87.0),
    "InternVL-2.5-8B": (90.3, 94.5, 85.9, 85.2, 91.5, 78.8, 86.7, 87.6),
    "Ferret-7B": (87.49, 91.35, 82.45, 80.78, 87.38, 73.14, 83.93, 84.76),
    "Groma-7B": (89.53, 92.09, 86.26, 83.90, 88.91, 78.05, 86.37, 87.01),
    "ChatRex-7B": (91.0, 94.1, 87.0, 89.8, 91.9, 79.3, 89.8, 90.0),
    "Qwen2.5-VL-7B": (90.0, 92.5, 85.4, 84.2, 89.1, 76.9, 87.2, 87.2),
    _FO1: (91.15, 93.74, 87.56, 86.44, 90.5, 80.57, 88.87, 88.34),
}
_REFCOCO_TASKS = (
    *("refcoco-val", "refcoco-testA", "refcoco-testB"),
    *("refcoco+-val", "refcoco+-testA", "refcoco+-testB"),
    *("refcocog-val", "refcocog-test"),
)
_HUMANREF: _Rows = {  # P, R, DF1
    "DINO-X": (33.1, 75.2, 23.3),
    "InternVL-2.5-8B": (37.8, 29.8, 31.9),
    "Ferret-7B": (43.2, 34.4, 34.3),
    "Groma-7B": (48.7, 65.9, 42.1),
    "ChatRex-7B": (72.2, 50.4, 55.6),
    "Qwen2.5-VL-7B": (68.5, 52.5, 56.2),
    "Molmo-7B-D (points)": (82.5, 77.7, 72.6),
    "RexSeek-7B": (85.8, 85.9, 82.3),
    _FO1: (86.6, 82.2, 81.9),
    _RELEASED: (86.8, 83.5, 82.6),
}
_COUNTING: _Rows = {  # CountBench, PixMo-Count
    "GPT-4V": (69.9, 45.0),
    "GPT-4o-0513": (87.9, 59.6),
    "Gemini 1.5 Pro": (85.8, 64.3),
    "Claude-3.5 Sonnet": (89.7, 58.3),
    "LLaVA-OneVision-72B": (84.3, 60.7),
    "InternVL2-Llama-3-76B": (74.7, 54.6),
    "Qwen2-VL-72B": (80.4, 55.7),
    "Molmo-7B-D": (88.5, 84.8),
    _FO1: (85.8, 84.8),
    _RELEASED: (89.73, 85.07),
}
_REGION_NAMES: _Rows = {  # LVIS SS, S-IoU; PACO SS, S-IoU
    "LLaVA-1.5": (49.0, 19.8, 42.2, 14.6),
    "Kosmos-2": (39.0, 8.7, 32.1, 4.8),
    "Shikra-7B": (49.7, 19.8, 43.6, 11.4),
    "GPT4RoI-7B": (51.3, 12.0, 48.0, 12.1),
    "Ferret-7B": (63.8, 36.6, 58.7, 26.0),
    "Osprey-7B": (65.2, 38.2, 73.1, 52.7),
    "VisionLLM v2-7B": (68.9, 46.3, 67.7, 44.0),
    "VP-SPHINX-13B": (87.1, 62.9, 76.8, 51.3),
    "DAM-8B": (89.0, 77.7, 84.2, 73.2),
    "PAM-3B": (88.6, 78.3, 87.4, 74.9),
    "ChatRex-7B": (89.8, 82.6, 91.4, 85.1),
    _FO1: (92.4, 86.4, 88.1, 77.6),
    _RELEASED: (92.5, 87.0, 88.1, 77.9),
}
_COCO_TEXT = {
    "ChatSpot-7B": 31.8,
    "PAM-3B": 42.2,
    "VP-LLaVA-8B": 44.8,
    "VP-SPHINX-13B": 45.4,
    _FO1: 59.0,
    _RELEASED: 57.1,
}
_FERRET_BENCH = {
    "LLaVA-7B": 31.7,
    "Kosmos-2": 33.7,
    "Osprey-7B": 67.8,
    "Ferret-13B": 68.7,
    "Ferret-v2-13B": 79.4,
    "VP-LLaVA-8B": 68.9,
    "VP-SPHINX-13B": 71.4,
    _FO1: 80.1,
}


def _column(rows: _Rows, place: int, figure: str) -> dict[str, dict[str, float]]:
    return {who: {figure: row[place]} for who, row in rows.items()}


def _columns(rows: _Rows, first: int, *figures: str) -> dict[str, dict[str, float]]:
    return {
        who: dict(zip(figures, row[first : first + len(figures)], strict=True))
        for who, row in rows.items()
    }


def _one(rows: Mapping[str, float], figure: str) -> dict[str, dict[str, float]]:
    return {who: {figure: value} for who, value in rows.items()}


_PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "coco": _one(_COCO_ALONE, "AP") | _column(_DETECTORS, 0, "AP"),
        "odinw13": _column(_DETECTORS, 1, "AP"),
        "odinw13-present": _one(_PRESENT_NAMES_ALONE, "AP"),
        "ovdeval": {"VLM-R1-7B": {"NMS-AP": 31.0}} | _column(_DETECTORS, 2, "NMS-AP"),
        **{name: _column(_REFCOCO, place, "accuracy") for place, name in enumerate(_REFCOCO_TASKS)},
        "humanref": _columns(_HUMANREF, 0, "P", "R", "DF1"),
        "countbench": _column(_COUNTING, 0, "accuracy"),
        "pixmo-count": _column(_COUNTING, 1, "accuracy"),
        "lvis-regions": _columns(_REGION_NAMES, 0, "SS", "S-IoU"),
        "paco-regions": _columns(_REGION_NAMES, 2, "SS", "S-IoU"),
        "coco-text": _one(_COCO_TEXT, "accuracy"),
        "ferret-bench": _one(_FERRET_BENCH, "score"),
    }
)


def published(task: str) -> Mapping[str, Mapping[str, float]]:
    """Return by model the published figures of a task, in its units; empty where there are none."""
    return _PUBLISHED.get(task, {})
