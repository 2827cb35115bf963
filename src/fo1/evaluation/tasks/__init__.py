"""All benchmarks, one file a family; a name is looked up here and only its file is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from fo1.errors import InputError, short_name

if TYPE_CHECKING:  # the command line looks up names without torch
    from fo1.evaluation.task import AnyTask

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "coco": "coco:CocoDetection",
        "lvis": "lvis:LvisDetection",
        "odinw13": "odinw:OdinW13",
        "odinw13-present": "odinw:OdinW13Present",
        "ovdeval": "ovdeval:OvdEval",
        "folder": "folder:Folder",
        "photos": "photos:Photos",
        "hallucination": "hallucination:Hallucination",
        "refcoco-val": "refcoco:RefCocoVal",
        "refcoco-testA": "refcoco:RefCocoTestA",
        "refcoco-testB": "refcoco:RefCocoTestB",
        "refcoco+-val": "refcoco:RefCocoPlusVal",
        "refcoco+-testA": "refcoco:RefCocoPlusTestA",
        "refcoco+-testB": "refcoco:RefCocoPlusTestB",
        "refcocog-val": "refcoco:RefCocoGVal",
        "refcocog-test": "refcoco:RefCocoGTest",
        "grefcoco-val": "grefcoco:GRefCocoVal",
        "grefcoco-testA": "grefcoco:GRefCocoTestA",
        "grefcoco-testB": "grefcoco:GRefCocoTestB",
        "humanref": "humanref:HumanRef",
        "countbench": "counting:CountBench",
        "pixmo-count": "counting:PixMoCount",
        "lvis-regions": "region_names:LvisRegions",
        "paco-regions": "region_names:PacoRegions",
        "coco-text": "region_text:CocoText",
        "refcocog-caption": "captions:RefCocoGCaption",
        "vg-caption": "captions:VisualGenomeCaption",
        "ferret-bench": "ferret_bench:FerretBench",
        "pope": "pope:Pope",
        "relations": "relations:Relations",
        "scenes": "scenes:Scenes",
        "scenes-new-concepts": "scenes:ScenesNewConcepts",
    }
)
"""By what `fo1 eval` calls a task, its module and class."""


def get_task(name: str) -> type[AnyTask]:
    """Return the class of a task.

    Raises:
        InputError: there is no such task; names the ones there are.
    """
    if name not in TASKS:
        near = get_close_matches(name, TASKS, 1)
        cure = f"did you mean {near[0]}?" if near else f"there are: {', '.join(TASKS)}"
        raise InputError(f"no task is called '{short_name(name)}'; {cure}")
    module, attribute = TASKS[name].split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
