"""A loaded model and what belongs to it, as three passes over values that never change.

    picture, boxes --encode--> SceneTensors --match-----> (N, K) probabilities
                                            --generate--> texts

Every sequence is a scene's prefix (picture and regions) and one branch behind it, token for token
as in training. Rows of several scenes share a pass, padded on the left.

Legend: N regions of one scene, K queries, P prefix tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fo1.geometry import Boxes
from fo1.lexicon import Lexicon
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.families import HostFeatures
from fo1.models.scoring import Branches, evidence_chance, join_evidence, match_evidence
from fo1.pipeline.vocabulary import Vocabulary
from fo1.prompts import (
    GROUND_CLOSE,
    GROUND_OPEN,
    IMAGE_PLACEHOLDER,
    OBJECTS_OPEN,
    query_branch,
    question_branch,
    regions_in,
    scene_prefix,
)

MAX_NEW_TOKENS = 512
QUERIES_PER_PASS = 64
"""Queries that share one pass over a picture."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneTensors:
    """What the model computed of one picture and its boxes.

    Attributes:
        encoding: what the host's vision encoder made of the picture; the maps, which only boxes
            need, are gone.
        regions: N region embeddings.
        inputs: the host's picture inputs without the pixels, such as the size of the patch grid.
        prefix: P token ids of picture and regions.
        num_regions: N.
    """

    encoding: PictureEncoding
    regions: RegionEmbeddings
    inputs: Mapping[str, Tensor]
    prefix: tuple[int, ...]
    num_regions: int


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """A model that answers; nothing in it changes, so threads may share it.

    Args:
        name: as the caller asked for the model: "nano", a folder or a hub id.
        model: in evaluation mode.
        processor: made for this model.
        lexicon: which classes of the auxiliary encoder a name means; None without evidence.
        vocabulary: names that regions can be given without writing; None without a score head.
    """

    name: str
    model: FO1ForConditionalGeneration
    processor: FO1Processor
    lexicon: Lexicon | None = None
    vocabulary: Vocabulary | None = None

    @property
    def scores(self) -> bool:
        """Whether the model scores all pairs of regions and queries, not only writes."""
        return self.model.score_head is not None

    @property
    def max_regions(self) -> int:
        """How many regions a picture may have: one per index token of the vocabulary."""
        return self.model.config.num_region_tokens

    @torch.inference_mode()
    def encode(self, image: Image.Image, boxes: Boxes) -> SceneTensors:
        """Return the tensors of one scene; both vision encoders run once.

        Args:
            image: RGB.
            boxes: (N, 4) float32, xyxy pixels of that picture.
        """
        device = self.model.device
        pictures = self.processor.prepare_pictures([image], [boxes])
        inputs: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in pictures.items()
        }
        encoding = self.model.encode_images(inputs)
        regions = self.model.encode_regions(
            encoding, inputs["auxiliary_boxes"], inputs["host_boxes"]
        )
        tokens = self.processor.image_token * self.processor.image_token_counts(pictures)[0]
        prefix = scene_prefix(len(boxes)).replace(IMAGE_PLACEHOLDER, tokens)
        kept = {
            name: inputs[name]
            for name in self.model.family.image_inputs
            if name in inputs and "pixel_values" not in name
        }
        return SceneTensors(
            encoding.without_maps(), regions, kept, tuple(self._ids(prefix)), len(boxes)
        )

    @torch.inference_mode()
    def match(
        self, scenes: Sequence[SceneTensors], queries: Sequence[str]
    ) -> list[npt.NDArray[np.float32]]:
        """Return per scene (N, K) probabilities that a region is meant by a query.

        Args:
            scenes: they share one pass; each has at least one region.
            queries: K names or expressions, clean.
        """
        chunks = [
            self._match_chunk(scenes, queries[start : start + QUERIES_PER_PASS])
            for start in range(0, len(queries), QUERIES_PER_PASS)
        ]
        return [np.concatenate(parts, axis=1) for parts in zip(*chunks, strict=True)]

    def _match_chunk(
        self, scenes: Sequence[SceneTensors], queries: Sequence[str]
    ) -> list[npt.NDArray[np.float32]]:
        tokenizer = self.processor.tokenizer
        markup = tokenizer.convert_tokens_to_ids([GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN])
        row = [self._ids(query_branch(query)) for query in queries]
        branches = Branches.pack([row] * len(scenes), markup, tokenizer.pad_token_id)
        branches = branches.to(self.model.device)
        ids, mask = self._pad([scene.prefix for scene in scenes])
        together = self._together(scenes, [()] * len(scenes))
        states, embeddings = self.model.branch_states(ids, mask, branches, **together)
        classes = self._classes(queries)
        names = [self.lexicon is not None and self.lexicon.is_name(query) for query in queries]
        is_name = torch.tensor(names, device=self.model.device)
        tables: list[npt.NDArray[np.float32]] = []
        for number, scene in enumerate(scenes):
            match = self.model.score_row(
                number, ids, branches, states, embeddings, scene.regions, classes
            ).sigmoid()
            if scene.regions.evidence and self.lexicon is not None:
                chance = evidence_chance(scene.regions.evidence, classes, self._gains())
                match = join_evidence(match, *chance, is_name)
            tables.append(match.float().cpu().numpy())
        return tables

    def _gains(self) -> Sequence[float]:
        config = self.model.config.score_config
        return config.evidence_gains or [1.0] * len(config.evidence_sources)

    @torch.inference_mode()
    def name_regions(self, scene: SceneTensors, regions: Sequence[int]) -> list[str]:
        """Return the name of the vocabulary that fits each region best; the language model does not run."""
        vocabulary, head = self.vocabulary, self.model.score_head
        if vocabulary is None or head is None:
            raise ValueError(f"model {self.name!r} has no vocabulary to name regions from")
        chosen = torch.tensor(list(regions), dtype=torch.long, device=self.model.device)
        names = Branches.pack([vocabulary.tokens]).to(chosen.device)
        rows = self.model.get_input_embeddings()(names.ids[0])
        words = names.mean_words(0, rows.float())
        kept = [source[chosen] for source in scene.regions.evidence]
        evidence = match_evidence(kept, vocabulary.classes) if kept else None
        fit = head.name_logits(scene.regions.embeddings[chosen], words, evidence).sigmoid()
        if kept:
            chance = evidence_chance(kept, vocabulary.classes, self._gains())
            fit = join_evidence(fit, *chance, torch.tensor(True, device=fit.device))
        return [vocabulary.names[best] for best in fit.argmax(-1).tolist()]

    @torch.inference_mode()
    def generate(self, scenes: Sequence[SceneTensors], questions: Sequence[str]) -> list[str]:
        """Return the answer to each question about the scene in the same place; greedy.

        Region markup stays in the text, the tokens that end it do not.
        """
        repeat = self.model.config.repeat_regions
        rows = [
            (*scene.prefix, *self._ids(question_branch(question, repeat_features=repeat)))
            for scene, question in zip(scenes, questions, strict=True)
        ]
        named = [regions_in(question) if repeat else () for question in questions]
        ids, mask = self._pad(rows)
        written = self.model.generate(
            ids,
            mask,
            **self._together(scenes, named),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
        )
        return [self._text(answer) for answer in written[:, ids.shape[1] :].tolist()]

    def _together(
        self, scenes: Sequence[SceneTensors], named: Sequence[Iterable[int]]
    ) -> dict[str, Any]:
        """Return the model's inputs for one row per scene besides the tokens.

        Args:
            scenes: one per row.
            named: per row the regions whose features stand once more in the question.
        """
        index: list[int] = []
        first = 0
        for scene, again in zip(scenes, named, strict=True):
            index += range(first, first + scene.num_regions)
            index += [first + region for region in again]
            first += scene.num_regions
        device = self.model.device
        return {
            "encoding": _join_encodings([scene.encoding for scene in scenes]),
            "regions": _join_regions([scene.regions for scene in scenes]),
            "region_index": torch.tensor(index, dtype=torch.long, device=device),
            **{
                name: torch.cat([scene.inputs[name] for scene in scenes])
                for name in scenes[0].inputs
            },
        }

    def _classes(self, queries: Sequence[str]) -> list[list[tuple[int, ...]]]:
        """Return per evidence source and query the classes that the query names."""
        config = self.model.config.score_config
        return [
            [
                () if self.lexicon is None else self.lexicon.classes(query, source)
                for query in queries
            ]
            for source in config.evidence_sources
        ]

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return token ids (B, T), padded on the left, and their mask."""
        length, device = max(map(len, rows)), self.model.device
        padding = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([[padding] * (length - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        return ids.to(device), mask.to(device)

    def _ids(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _text(self, ids: Sequence[int]) -> str:
        return self.processor.tokenizer.decode(
            list(self._until_end(ids)), clean_up_tokenization_spaces=False
        )

    def _until_end(self, ids: Sequence[int]) -> Iterator[int]:
        end = self.model.generation_config.eos_token_id
        ends = {*(end if isinstance(end, list) else [end]), self.processor.tokenizer.pad_token_id}
        for token in ids:
            if token in ends:
                return
            yield token


def _join_encodings(parts: Sequence[PictureEncoding]) -> PictureEncoding:
    """Return one encoding of all pictures."""
    return replace(parts[0], host=HostFeatures.join([part.host for part in parts]))


def _join_regions(parts: Sequence[RegionEmbeddings]) -> RegionEmbeddings:
    return RegionEmbeddings(
        features=torch.cat([part.features for part in parts]),
        embeddings=torch.cat([part.embeddings for part in parts]),
        evidence=(),
    )
