"""A loaded model and what belongs to it, as three passes over values that never change.

    picture, boxes --encode--> SceneTensors --match-----> (N, K) probabilities
                                            --generate--> texts

What is matched or written goes through the language model as rows: pictures, some of their regions
and a text. Rows share a pass, padded on the left. Rows about one scene share its prefix instead,
which is kept: the next question costs its own tokens.

Legend: N regions of one scene, K queries, T tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fo1.errors import InputError
from fo1.geometry import Boxes
from fo1.grammar import Grammar
from fo1.layout import query_branch
from fo1.lexicon import Lexicon
from fo1.markup import Markup
from fo1.masks import Masks
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.decoding import Written, decode
from fo1.models.drafting import Drafter
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.prefix import Prefix, continue_prefix, read_prefix
from fo1.models.processing import pad_left
from fo1.models.recorders import without_recorders
from fo1.models.scoring import Branches, evidence_chance, join_evidence, match_evidence
from fo1.pipeline.memory import Memory
from fo1.pipeline.rows import (
    PictureTensors,
    Row,
    SceneTensors,
    Text,
    join_encodings,
    scene_row,
    share_passes,
)
from fo1.pipeline.vocabulary import Vocabulary
from fo1.tags import GROUND_CLOSE, GROUND_OPEN, NONE_TEXT, OBJECTS_OPEN
from fo1.tiles import Tile, split

MAX_NEW_TOKENS = 2048
"""Longest answer of models whose generation settings name no other."""

QUERIES_PER_PASS = 64
"""Queries that share one pass over a picture."""

ROWS_PER_PASS = 8
"""Rows that share a pass."""


@dataclass(frozen=True, eq=False)
class Engine:
    """A model that answers; nothing in it changes, so threads may share it.

    Args:
        name: as the caller asked for the model: "nano", a folder or a hub id.
        model: in evaluation mode.
        processor: made for this model.
        lexicon: which classes of the auxiliary encoder a name means; None without evidence.
        vocabulary: names that regions can be given without writing; None without a score head.
        memory: what was computed of pictures and scenes that may be asked again.
    """

    name: str
    model: FO1ForConditionalGeneration
    processor: FO1Processor
    lexicon: Lexicon | None = None
    vocabulary: Vocabulary | None = None
    memory: Memory = field(default_factory=Memory, repr=False)

    @property
    def has_score_head(self) -> bool:
        """Whether the model scores all pairs of regions and queries, not only writes."""
        return self.model.score_head is not None

    @property
    def max_regions(self) -> int:
        """How many regions one sequence may show: one per index token of the vocabulary."""
        return self.model.config.num_region_tokens

    @cached_property
    def markup(self) -> Markup:
        """The tokens with which answers name regions."""
        tokenizer = self.processor.tokenizer
        end = self.model.generation_config.eos_token_id
        return Markup.from_vocabulary(
            tokenizer.get_vocab(),
            ends={*(end if isinstance(end, list) else [end]), tokenizer.pad_token_id},
            none=self.processor.token_ids(NONE_TEXT),
            special=[n for n, token in tokenizer.added_tokens_decoder.items() if token.special],
            size=self.model.config.get_text_config().vocab_size,
        )

    @torch.inference_mode()
    def encode(self, image: Image.Image, boxes: Boxes, masks: Masks | None = None) -> SceneTensors:
        """Return the tensors of one scene; both vision encoders run once.

        Args:
            image: RGB.
            boxes: (N, 4) float32, xyxy pixels of that picture.
            masks: N of that picture, where regions are less than their boxes.
        """
        return self._place(*self._see(image), boxes, masks)

    @torch.inference_mode()
    def see(self, image: Image.Image) -> PictureTensors:
        """Return the tensors of one RGB picture, whatever its boxes are; both vision encoders run once."""
        return self._see(image)[0]

    def _see(self, image: Image.Image) -> tuple[PictureTensors, PictureEncoding]:
        inputs = self._prepare(image)
        encoding = self.model.encode_images(inputs)
        kept = {
            name: inputs[name]
            for name in self.model.family.image_inputs
            if name in inputs and "pixel_values" not in name
        }
        (text,) = self.processor.picture_texts(inputs)
        (frame,) = self.processor.host_frames(inputs)
        picture = PictureTensors(image, encoding.without_maps(), kept, text, frame)
        return picture, self.memory.get(picture, "maps", encoding.for_boxes)

    @torch.inference_mode()
    def maps(self, picture: PictureTensors) -> PictureEncoding:
        """Return what boxes of a picture are made and encoded from; the vision encoders run if it was forgotten."""

        def make() -> PictureEncoding:
            return self.model.encode_images(self._prepare(picture.image)).for_boxes()

        return self.memory.get(picture, "maps", make)

    @torch.inference_mode()
    def place(
        self, picture: PictureTensors, boxes: Boxes, masks: Masks | None = None
    ) -> SceneTensors:
        """Return the tensors of a scene with other boxes; the vision encoders run if their maps were forgotten.

        Args:
            picture: encoded before.
            boxes: (N, 4) float32, xyxy pixels of it.
            masks: as in `encode`.
        """
        return self._place(picture, self.maps(picture), boxes, masks)

    def _place(
        self,
        picture: PictureTensors,
        encoding: PictureEncoding,
        boxes: Boxes,
        masks: Masks | None,
    ) -> SceneTensors:
        size = (picture.image.height, picture.image.width)
        auxiliary, host = self.processor.place(size, boxes, picture.frame)
        covered = None
        if masks is not None:
            covered = [torch.from_numpy(masks.over(boxes))]
            apart = (covered[0].amax((1, 2)) == 0).nonzero().flatten().tolist()
            if apart:
                raise InputError(
                    f"mask {apart[0]} covers nothing of its box; give the box around it, or no boxes"
                )
        regions = self.model.encode_regions(encoding, [auxiliary], [host], masks=covered)
        return SceneTensors(picture, regions)

    def _prepare(self, image: Image.Image) -> dict[str, Any]:
        """Return the pixels that the encoders take, on their device."""
        made = self.processor.prepare_pictures([image], [np.zeros((0, 4), np.float32)])
        return {
            name: value.to(self.model.device) if isinstance(value, Tensor) else value
            for name, value in made.items()
        }

    @torch.inference_mode()
    def match(
        self, scenes: Sequence[SceneTensors], queries: Sequence[str]
    ) -> list[npt.NDArray[np.float32]]:
        """Return per scene (N, K) probabilities that a region is meant by a query.

        Args:
            scenes: each has at least one region.
            queries: K names or expressions, clean.
        """
        if len(scenes) == 1 or self.model.recurrent:
            return [self._match_scene(scene, queries) for scene in scenes]
        tiles = [
            (number, tile)
            for number, scene in enumerate(scenes)
            for tile in split(len(scene), self.max_regions)
        ]
        tables = [np.zeros((len(scene), len(queries)), np.float32) for scene in scenes]
        for first in range(0, len(queries), QUERIES_PER_PASS):
            some = slice(first, first + QUERIES_PER_PASS)
            for start in range(0, len(tiles), ROWS_PER_PASS):
                chunk = tiles[start : start + ROWS_PER_PASS]
                shown = [(scenes[number], tile) for number, tile in chunk]
                found = self._match_tiles(shown, queries[some])
                for (number, tile), table in zip(chunk, found, strict=True):
                    tables[number][list(tile.regions), some] = table
        return tables

    def _match_scene(self, scene: SceneTensors, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (N, K) probabilities; each query sees the scene's prefix and itself."""
        table = np.zeros((len(scene), len(queries)), np.float32)
        for tile in split(len(scene), self.max_regions):
            prefix = self._prefix(scene, tile.regions)
            regions = scene.regions.select(tile.regions)
            for first in range(0, len(queries), QUERIES_PER_PASS):
                some = queries[first : first + QUERIES_PER_PASS]
                branches, classes = self._branches(some, 1), self._classes(some)
                states, embeddings = continue_prefix(self.model, prefix, branches)
                match = self.model.score_branches(
                    prefix.region_states, branches, 0, states[0], embeddings[0], regions, classes
                )
                found = self._with_evidence(match.sigmoid(), regions, some, classes)
                table[list(tile.regions), first : first + len(some)] = found
        return table

    def _match_tiles(
        self, tiles: Sequence[tuple[SceneTensors, Tile]], queries: Sequence[str]
    ) -> list[npt.NDArray[np.float32]]:
        """Return per tile (regions of the tile, K) probabilities, of all tiles in one pass."""
        rows = [scene_row(scene, tile.regions) for scene, tile in tiles]
        ids, mask = self._ids(rows)
        branches, classes = self._branches(queries, len(tiles)), self._classes(queries)
        states, embeddings = self.model.branch_states(ids, mask, branches, **self._together(rows))
        tables: list[npt.NDArray[np.float32]] = []
        for number, (scene, tile) in enumerate(tiles):
            regions = scene.regions.select(tile.regions)
            match = self.model.score_row(
                number, ids, branches, states, embeddings, regions, classes
            )
            tables.append(self._with_evidence(match.sigmoid(), regions, queries, classes))
        return tables

    def _branches(self, queries: Sequence[str], rows: int) -> Branches:
        """Return the same queries behind each of some rows."""
        tokenizer = self.processor.tokenizer
        markup = tokenizer.convert_tokens_to_ids([GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN])
        branch = [self.processor.token_ids(query_branch(query)) for query in queries]
        packed = Branches.pack([branch] * rows, markup, tokenizer.pad_token_id)
        return packed.to(self.model.device)

    def _with_evidence(
        self,
        match: Tensor,
        regions: RegionEmbeddings,
        queries: Sequence[str],
        classes: Sequence[Sequence[Sequence[int]]],
    ) -> npt.NDArray[np.float32]:
        """Return (N, K) probabilities joined with what the frozen encoders see."""
        if regions.evidence and self.lexicon is not None:
            chance = evidence_chance(regions.evidence, classes, self._gains())
            names = [self.lexicon.is_name(query) for query in queries]
            is_name = torch.tensor(names, device=match.device)
            match = join_evidence(match, *chance, is_name, regions.familiar)
        return match.float().cpu().numpy()

    def _prefix(self, scene: SceneTensors, regions: tuple[int, ...]) -> Prefix:
        """Return what all questions about some regions of a scene share."""

        def make() -> Prefix:
            opening = self._opening(scene)
            ids, _ = self._ids([scene_row(scene, regions)])
            chosen = scene.regions.select(regions)
            return read_prefix(self.model, ids[:, len(opening) :], regions=chosen, before=opening)

        return self.memory.get(scene, regions, make) if regions else self._opening(scene)

    def _opening(self, scene: SceneTensors) -> Prefix:
        """Return what all questions about a picture share, whatever its regions."""

        def make() -> Prefix:
            row = scene_row(scene, ())
            return read_prefix(self.model, self._ids([row])[0], **self._together([row]))

        return self.memory.get(scene.picture, "opening", make)

    def _gains(self) -> Sequence[float]:
        config = self.model.config.score_config
        return config.evidence_gains or [1.0] * len(config.evidence_sources)

    @torch.inference_mode()
    def name_fit(
        self, scene: SceneTensors, regions: Sequence[int]
    ) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
        """Return the M names of the vocabulary and (len(regions), M) probabilities that each fits.

        The language model does not run.
        """
        vocabulary, head = self.vocabulary, self.model.score_head
        if vocabulary is None or head is None:
            raise ValueError(f"model {self.name!r} has no vocabulary to name regions from")
        chosen = scene.regions.select(regions)
        names = Branches.pack([vocabulary.tokens]).to(self.model.device)
        rows = self.model.get_input_embeddings()(names.ids[0])
        words = names.mean_words(0, rows.float())
        evidence = match_evidence(chosen.evidence, vocabulary.classes) if chosen.evidence else None
        fit = head.name_logits(chosen.embeddings, words, evidence).sigmoid()
        if chosen.evidence:
            chance = evidence_chance(chosen.evidence, vocabulary.classes, self._gains())
            is_name = torch.tensor(True, device=fit.device)
            fit = join_evidence(fit, *chance, is_name, chosen.familiar)
        return vocabulary.names, fit.float().cpu().numpy()

    @torch.inference_mode()
    def generate(self, rows: Sequence[Row], max_new_tokens: int | None = None) -> list[Text]:
        """Return the answer to each row; greedy, under a grammar that knows the row's regions.

        Region markup stays in the text, the tokens that end it do not.

        Args:
            rows: what is asked.
            max_new_tokens: the longest answer; the model's own limit holds as well.
        """
        most = self.model.generation_config.max_new_tokens or MAX_NEW_TOKENS
        texts: dict[int, Text] = {}
        for places in share_passes(rows, 1 if self.model.recurrent else ROWS_PER_PASS):
            chunk = [rows[place] for place in places]
            ids = self._ids_of(chunk)
            grammars = [Grammar(self.markup, row.num_regions) for row in chunk]
            written = decode(
                self.model,
                grammars=grammars,
                drafters=[
                    Drafter(grammar, [self.processor.token_ids(label) for label in row.labels])
                    for grammar, row in zip(grammars, chunk, strict=True)
                ],
                max_new_tokens=most if max_new_tokens is None else min(most, max_new_tokens),
                ends=self.markup.ends,
                pad=self.processor.tokenizer.pad_token_id,
                **self._behind_prefix(chunk, ids) or self._whole(chunk, ids),
            )
            texts |= zip(places, map(self._text, written, map(len, ids)), strict=True)
        return [texts[place] for place in range(len(rows))]

    def _whole(self, rows: Sequence[Row], every: Sequence[list[int]]) -> dict[str, Any]:
        """Return what `decode` takes of rows, with their tokens, from their first token on."""
        ids, mask = self._padded(every)
        return {"input_ids": ids, "attention_mask": mask, **self._together(rows)}

    def _behind_prefix(
        self, rows: Sequence[Row], every: Sequence[list[int]]
    ) -> dict[str, Any] | None:
        """Return what `decode` takes of rows, with their tokens, that all continue one scene's prefix; None if not."""
        first = rows[0]
        regions = first.regions_shown()
        if regions is None or any(
            row.pictures != first.pictures or row.regions_shown() != regions for row in rows
        ):
            return None
        (scene,) = first.pictures
        prefix = self._prefix(scene, regions)
        opening = prefix.ids.tolist()
        # Where a question's first letters would join the prefix's last token, it is another one.
        if any(ids[: len(opening)] != opening for ids in every):
            return None
        ids, mask = self._padded([own[len(opening) :] for own in every])
        again = [region for row in rows for _, region in row.placed[len(regions) :]]
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "prefix": prefix}
        return given | ({"regions": scene.regions.select(again)} if again else {})

    def _text(self, written: Written, prompt_tokens: int) -> Text:
        pairs = zip(written.tokens, written.logprobs, strict=True)
        chances = tuple(
            math.exp(logprob) for token, logprob in pairs if token in self.markup.numbers
        )
        return Text(
            self.markup.text(written.tokens, self._decode),
            written.finished,
            chances,
            prompt_tokens,
            len(written.tokens),
        )

    def _together(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the model's inputs for some rows besides the tokens."""
        pictures = [scene for row in rows for scene in row.pictures]
        apart = list(dict.fromkeys(pictures))  # tiles share a picture and its regions
        firsts = dict(zip(apart, np.cumsum([0, *map(len, apart[:-1])]).tolist(), strict=False))
        index = [
            firsts[row.pictures[picture]] + region for row in rows for picture, region in row.placed
        ]
        together: dict[str, Any] = {}
        if pictures:
            together["encoding"] = join_encodings([scene.picture.encoding for scene in pictures])
            together["regions"] = RegionEmbeddings.join([scene.regions for scene in apart])
            together["region_index"] = torch.tensor(index, device=self.model.device).long()
            for name in pictures[0].picture.inputs:
                together[name] = torch.cat([scene.picture.inputs[name] for scene in pictures])
        return together

    def _ids(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Return token ids (B, T), padded on the left, and their mask."""
        return self._padded(self._ids_of(rows))

    def _ids_of(self, rows: Sequence[Row]) -> list[list[int]]:
        return [
            self.processor.token_ids(row.prompt, [scene.picture.text for scene in row.pictures])
            for row in rows
        ]

    def _padded(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        padded, mask = pad_left(ids, self.processor.tokenizer.pad_token_id)
        return padded.to(self.model.device), mask.to(self.model.device)

    def __reduce__(self) -> tuple[type["Engine"], tuple[object, ...]]:
        """Return what copies and pickle need; hooks that the host put on itself are left behind."""
        kept = self.processor, self.lexicon, self.vocabulary, self.memory
        return Engine, (self.name, without_recorders(self.model), *kept)

    def _decode(self, ids: Sequence[int]) -> str:
        return self.processor.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

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
