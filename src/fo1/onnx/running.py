"""An exported folder run by onnxruntime: what a program in any language has to do around the graphs.

Legend: N regions, K queries, E classes of all evidence sources.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from fo1.errors import CheckpointError, MissingExtraError, QueryError
from fo1.geometry import check_boxes
from fo1.imaging import ImageSource, load_image
from fo1.lexicon import Lexicon
from fo1.prompts import as_queries, clean_name
from fo1.results import Detections, Proposals
from fo1.selection import best_first, check_threshold, fuse
from fo1.tiles import split

MANIFEST = "manifest.json"
FORMAT = "fo1-onnx-1"

Array = npt.NDArray[Any]


class OnnxModel:
    """Detection by an exported folder; threads may share it.

    Args:
        folder: as `export` wrote it.
        threads: of one operator; as many as there are cores if not given.

    Raises:
        CheckpointError: the folder is no export, or a file is missing or damaged.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("OnnxModel", "onnxruntime", "onnx") from error
        folder = Path(folder)
        try:
            self.manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if self.manifest["format"] != FORMAT:
                raise ValueError(f"format {self.manifest['format']}, not {FORMAT}")
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            if threads is not None:
                options.intra_op_num_threads = threads
            self._sessions = {
                name: onnxruntime.InferenceSession(folder / file, options)
                for name, file in self.manifest["graphs"].items()
            }
            self._tokenizer = Tokenizer.from_file(str(folder / self.manifest["tokenizer"]["file"]))
            self._lexicon = Lexicon.load(folder / self.manifest["lexicon"]["file"])
        except Exception as error:  # onnxruntime and tokenizers raise types of their own
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(
                f"{folder} is no complete export ({reason}); run: fo1 convert nano OUT --to onnx"
            ) from error

    def detect(
        self,
        image: ImageSource,
        names: str | Sequence[str],
        threshold: float | None = None,
        *,
        boxes: npt.ArrayLike | None = None,
    ) -> Detections:
        """Return what `FO1.detect` returns, up to rounding.

        Args:
            image: whatever `fo1.imaging.load_image` takes.
            names: what to look for; repeated names are asked once.
            threshold: least score; the model's own if not given.
            boxes: (N, 4) xyxy pixels of the picture; proposed if not given.

        Raises:
            ImageError: the picture cannot be read.
            BoxError: boxes are malformed or outside the picture.
            QueryError: a name is empty, or there are no names.
            InputError: the threshold is outside [0, 1].
        """
        if threshold is not None:
            check_threshold(threshold)
        picture = load_image(image)
        queries = list(dict.fromkeys(clean_name(name) for name in as_queries(names)))
        if not queries:
            raise QueryError("detect needs a query; give at least one, for example 'cat'")
        size = (picture.height, picture.width)
        pixels = np.asarray(picture)
        rules = self.manifest["selection"]
        least = rules["threshold"] if threshold is None else threshold
        found = self._propose(pixels) if boxes is None else None
        placed = check_boxes(boxes if found is None else found.boxes, size)  # pyright: ignore[reportArgumentType]
        if not len(placed):
            return Detections.empty(size)
        match = self._scores(pixels, placed, queries)
        scores = match if found is None else fuse(match, found.scores)
        parts: list[Detections] = []
        for number, query in enumerate(queries):
            own = scores[:, number]
            kept = best_first(
                placed,
                own,
                least,
                proposed=found is not None,
                overlap=rules["overlap"],
                containment=rules["containment"],
            )
            labels = (query,) * len(kept)
            proposed = None if found is None else found.scores[kept]
            judged = match[kept, number]
            parts.append(Detections(placed[kept], labels, own[kept], kept, size, proposed, judged))
        return Detections.merge(parts)

    def propose(self, image: ImageSource) -> Proposals:
        """Return boxes that may hold something, best first."""
        return self._propose(np.asarray(load_image(image)))

    def scores(
        self, image: ImageSource, boxes: npt.ArrayLike, queries: str | Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return (N, K) probabilities that a box is meant by a query, as `Scene.scores` does.

        Args:
            image: whatever `fo1.imaging.load_image` takes.
            boxes: (N, 4) xyxy pixels of the picture.
            queries: at least one.
        """
        asked = [clean_name(query) for query in as_queries(queries)]
        picture = load_image(image)
        placed = check_boxes(boxes, (picture.height, picture.width))
        return self._scores(np.asarray(picture), placed, asked)

    def _propose(self, pixels: Array) -> Proposals:
        found = self._run("propose", {"picture": pixels})
        return Proposals(found["boxes"], found["scores"], self.manifest["proposer"])

    def _scores(
        self, pixels: Array, boxes: Array, queries: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        table = np.zeros((len(boxes), len(queries)), np.float32)
        if not len(boxes):
            return table
        seen = self._run("encode", {"picture": pixels, "boxes": boxes})
        limits = self.manifest["limits"]
        for tile in split(len(boxes), limits["regions"]):
            regions = list(tile.regions)
            some = {name: seen[name][regions] for name in ("regions", "evidence")}
            picture = {name: seen[name] for name in ("image_tokens", "image_grid")}
            for first in range(0, len(queries), limits["queries"]):
                chosen = queries[first : first + limits["queries"]]
                found = self._run("score", {**picture, **some, **self._ask(chosen)})
                table[regions, first : first + len(chosen)] = found["probabilities"]
        return table

    def _ask(self, queries: Sequence[str]) -> dict[str, Array]:
        """Return what the score graph takes of queries."""
        told, known = self.manifest["tokenizer"], self.manifest["lexicon"]
        ids: list[int] = []
        owner: list[int] = []
        for number, query in enumerate(queries):
            words = self._tokenizer.encode(query, add_special_tokens=False).ids
            branch = [told["ground_open"], *words, told["ground_close"], told["objects_open"]]
            ids += branch
            owner += [number] * len(branch)
        classes = np.zeros((len(queries), sum(known["classes"])), np.float32)
        for row, query in enumerate(queries):
            start = 0
            for source, width in zip(known["sources"], known["classes"], strict=True):
                named = self._lexicon.classes(query, source)
                classes[row, [start + index for index in named]] = 1
                start += width
        return {
            "branch_ids": np.array(ids, np.int64),
            "branch_owner": np.array(owner, np.int64),
            "classes": classes,
            "is_name": np.array([self._lexicon.is_name(query) for query in queries]),
        }

    def _run(self, graph: str, feeds: dict[str, Array]) -> dict[str, Array]:
        session = self._sessions[graph]
        names = [one.name for one in session.get_outputs()]
        values: Any = session.run(names, feeds)
        return dict(zip(names, values, strict=True))
