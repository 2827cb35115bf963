"""Our benchmarks in lmms-eval, all by one class; a task file names one of the registry.

Questions, protocol and figures are those of `fo1.evaluation.tasks`, so that both harnesses give one
number. The data lie where `fo1 eval` finds them: `$FO1_DATA/<dataset_path>`.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from fo1_answers import Asked, Part, figures, prompt, understand
from lmms_eval.api.task import ConfigurableMessagesTask
from loguru import logger

from fo1.errors import ImageError
from fo1.evaluation.tasks import get_task

SPLIT = "test"


class Benchmark(ConfigurableMessagesTask):
    """A task whose documents are the questions of one of our benchmarks."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Load the benchmark that `dataset_name` names from `$FO1_DATA/<dataset_path>`."""
        self._measured: tuple[int, dict[str, float]] | None = None
        super().__init__(config={name: value for name, value in config.items() if name != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None) -> None:
        """Read the files of the benchmark; nothing is downloaded."""
        folder = Path(os.environ.get("FO1_DATA", "data")) / self.config.dataset_path
        self.benchmark = get_task(self.config.dataset_name).load(folder)
        for broken in self.benchmark.broken:
            logger.warning("{}: {} is left out: {}", self.config.task, broken.key, broken.problem)
        rows = [
            {"example": number, "request": request, "key": example.key}
            for number, example in enumerate(self.benchmark.examples)
            for request in range(len(example.requests))
        ]
        self.dataset = {SPLIT: datasets.Dataset.from_list(rows)}
        self.dataset_no_image = self.dataset

    def doc_to_visual(self, doc: dict[str, Any]) -> list[Any]:
        """Return the picture; its name where it cannot be read, so that the answer is missing."""
        example = self.benchmark.examples[doc["example"]]
        try:
            return [example.open()]
        except ImageError as error:
            logger.warning("{}: {}", self.config.task, error)
            return [f"{example.picture} (cannot be read)"]

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        """Return the question in the words of `fo1_answers.prompt`, without looking at the picture."""
        return self._prompt(doc, (0, 0))

    def doc_to_target(self, doc: dict[str, Any]) -> str:
        """Return nothing: the truth stays with the benchmark, which alone can judge an answer."""
        return ""

    def doc_to_messages(self, doc: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
        """Return the question as a chat; FO1 finds the request itself beside the prompt."""
        example = self.benchmark.examples[doc["example"]]
        (picture,) = self.doc_to_visual(doc)
        size = (0, 0) if isinstance(picture, str) else (picture.height, picture.width)
        request = example.requests[doc["request"]]
        asked = Asked(example.key, request, example.boxes, self.benchmark.most)
        text = {"type": "text", "text": self._prompt(doc, size), "fo1": asked}
        return [{"role": "user", "content": [{"type": "image", "url": picture}, text]}]

    def process_results(
        self, doc: dict[str, Any], results: Sequence[str], full_docs: Any = None
    ) -> dict[str, Part]:
        """Return the answer under the name of every figure; they are measured together."""
        example = self.benchmark.examples[doc["example"]]
        understood = understand(results[0] or "", example, doc["request"])
        part = Part(doc["example"], doc["request"], understood)
        return dict.fromkeys(self._aggregation_list, part)

    def figure(self, name: str, parts: list[Part]) -> float:
        """Return one figure of all answers, in its unit; NaN where it is not defined."""
        if self._measured is None or self._measured[0] != len(parts):
            self._measured = len(parts), figures(self.benchmark, parts)
        known = self._measured[1]
        if name not in known:
            logger.warning("{}: no figure {}; there are: {}", self.config.task, name, list(known))
        return known.get(name, float("nan"))

    def _prepare_metric_and_aggregation(self) -> None:
        self._metric_fn_list = {one["metric"]: None for one in self.config.metric_list}
        self._metric_fn_kwargs = {name: {} for name in self._metric_fn_list}
        self._aggregation_list = {name: partial(self.figure, name) for name in self._metric_fn_list}
        self._higher_is_better = {
            one["metric"]: one.get("higher_is_better", True) for one in self.config.metric_list
        }

    def _prompt(self, doc: dict[str, Any], size: tuple[int, int]) -> str:
        example = self.benchmark.examples[doc["example"]]
        return prompt(example.requests[doc["request"]], size, example.boxes)
