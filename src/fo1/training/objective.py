"""Objective: a model and its losses as one module, so that whatever wraps a module (DDP, FSDP) wraps the whole step.

    Batch --encode pictures, regions--> rows through the host --+--> logits at the answers  --> "lm"
                                                                +--> score head's logits    --> "score"

Every loss leaves as a sum with its count kept apart: the trainer divides by the count of the whole optimiser step, over
micro-batches and processes, so that how a step is cut changes nothing.

Source: next-token loss on answers (arXiv 2509.25916: as in ordinary instruction tuning); the score head's binary loss
is our own, see `models.scoring`. Legend: B rows, T tokens, N_i regions and K_i queries of scene i, D language width.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.data.collator import IGNORED, Batch
from fo1.data.sample import UNKNOWN
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.scoring import Branches

LM, SCORE = "lm", "score"
WEIGHTS: Mapping[str, float] = {LM: 1.0, SCORE: 0.5}
"""Of the losses where a stage does not say otherwise."""


class Objective(nn.Module):
    """The losses of a model on batches.

    Args:
        model: what learns.
    """

    def __init__(self, model: FO1ForConditionalGeneration):
        super().__init__()
        self.model = model

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return what each loss of `forward` is to be divided by; known before the pass."""
        counts = {LM: float(batch.num_labels)}
        for number, name in enumerate(batch.task_names):
            tokens = int((batch.tasks == number).sum())
            if tokens:
                counts[f"{LM}/{name}"] = float(tokens)
        if self.model.score_head is not None:
            counts[SCORE] = float(batch.num_queries)
            for number, name in enumerate(batch.task_names):
                known = [
                    (targets != UNKNOWN).any(0)[torch.tensor(tasks) == number].sum()
                    for targets, tasks in zip(batch.targets, batch.query_tasks, strict=True)
                    if tasks
                ]
                if sum(map(int, known)):
                    counts[f"{SCORE}/{name}"] = float(sum(map(int, known)))
        return counts

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the summed losses by name; those with a task behind "/" are told, not learned."""
        model = self.model
        encoding, regions = self.encode(batch)
        states, embeddings = self.states(batch, encoding, regions)
        losses = self._language(batch, states, embeddings)
        if model.score_head is not None:
            losses |= self._score(batch, states, embeddings, regions)
        return losses | {LM: losses[LM] + self._untouched(batch, regions)}

    def encode(self, batch: Batch) -> tuple[PictureEncoding | None, RegionEmbeddings | None]:
        """Return pictures and regions as the model sees them; None where a batch has none."""
        if not batch.pictures:
            return None, None
        encoding = self.model.encode_images(batch.pictures)
        regions = None
        if sum(map(len, batch.pictures["host_boxes"])):
            regions = self.model.encode_regions(
                encoding,
                batch.pictures.get("auxiliary_boxes"),
                batch.pictures["host_boxes"],
                batch.features,
            )
        # The host puts pictures where it finds their tokens, row by row.
        return replace(encoding, host=encoding.host.select(batch.picture_order)), regions

    def states(
        self,
        batch: Batch,
        encoding: PictureEncoding | None,
        regions: RegionEmbeddings | None,
    ) -> tuple[Tensor, Tensor]:
        """Return last hidden states and input embeddings (B, T, D) of the rows."""
        model, packed = self.model, batch.packed
        pictures = {
            name: batch.pictures[name]
            for name in model.family.image_inputs
            if name in batch.pictures and "pixel_values" not in name
        }
        host = model.host_inputs(
            packed.ids,
            packed.mask(),
            packed.positions(model.family, model.vlm, pictures),
            encoding,
            regions,
            batch.region_index,
            {},
        )
        if model.recurrent:
            return self._states_apart(batch, encoding, host), host["inputs_embeds"]
        states = model.vlm.base_model(**host, use_cache=False).last_hidden_state
        return states, host["inputs_embeds"]

    def _states_apart(
        self, batch: Batch, encoding: PictureEncoding | None, host: Mapping[str, Any]
    ) -> Tensor:
        """Return last hidden states (B, T, D) for hosts whose layers would carry a state from branch to branch."""
        model, packed = self.model, batch.packed
        embeddings, positions = host["inputs_embeds"], host["position_ids"]
        if encoding is not None:
            # Each picture stands in several rows, so its tokens are put in place before they are cut.
            image = packed.ids == model.family.image_token_id(model.vlm.config)
            tokens = torch.cat(encoding.host.tokens).to(embeddings)
            embeddings = embeddings.masked_scatter(image[..., None], tokens)
        apart = packed.apart()
        flat = positions.reshape(-1, *packed.ids.shape)
        cut = torch.stack([apart.cut(own) for own in flat])
        output = model.vlm.base_model(
            inputs_embeds=apart.cut(embeddings),
            attention_mask=apart.mask,
            position_ids=cut.reshape(*positions.shape[:-2], *apart.mask.shape),
            use_cache=False,
        )
        return apart.join(output.last_hidden_state, packed.ids)

    def _language(self, batch: Batch, states: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        rows, places = (batch.labels != IGNORED).nonzero(as_tuple=True)
        told = states[rows, places - 1]  # the token before predicts it, in the same branch
        logits = self.model.get_output_embeddings()(told).float()
        if self.model.pointer is not None:
            logits = self._point(batch, logits, told, batch.packed.scene[rows, places], embeddings)
        losses = F.cross_entropy(logits, batch.labels[rows, places], reduction="none")
        found = {LM: losses.sum()}
        tasks = batch.tasks[rows, places]
        for number, name in enumerate(batch.task_names):
            own = losses.detach()[tasks == number]
            if len(own):
                found[f"{LM}/{name}"] = own.sum()
        return found

    def _point(
        self, batch: Batch, logits: Tensor, told: Tensor, scenes: Tensor, embeddings: Tensor
    ) -> Tensor:
        """Return (L, V) logits of L places whose index tokens point at the regions of the scenes (L,) they stand in."""
        packed, pointer = batch.packed, self.model.pointer
        assert pointer is not None
        rows, tokens, terms = [], [], []
        for scene in range(packed.num_scenes):
            own, mine = packed.scene == scene, (scenes == scene).nonzero().flatten()
            pointables = pointer.pointables(
                packed.ids[own], embeddings[own], self.model.config.region_placeholder_id
            )
            term = pointer(told[mine], pointables)
            rows.append(mine[:, None].expand_as(term).flatten())
            tokens.append(pointables.tokens.expand_as(term).flatten())
            terms.append(term.flatten())
        places = torch.cat(rows), torch.cat(tokens)
        return logits.index_put(places, torch.cat(terms), accumulate=True)

    def _score(
        self,
        batch: Batch,
        states: Tensor,
        embeddings: Tensor,
        regions: RegionEmbeddings | None,
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        total = states.new_zeros((), dtype=torch.float32)
        first = 0
        for scene, targets in enumerate(batch.targets):
            count, queries = targets.shape
            own, first = range(first, first + count), first + count
            if regions is None or not count or not queries:
                continue
            logits = self._scene_logits(batch, scene, states, embeddings, regions.select(own))
            losses = F.binary_cross_entropy_with_logits(
                logits, targets.clamp(min=0), reduction="none"
            )
            each = (losses * (targets != UNKNOWN)).sum(0)  # (K,)
            total = total + each.sum()
            for query, task in enumerate(batch.query_tasks[scene]):
                if bool((targets[:, query] != UNKNOWN).any()):
                    name = f"{SCORE}/{batch.task_names[task]}"
                    found[name] = found.get(name, total.new_zeros(())) + each[query].detach()
        return {SCORE: total, **found}

    def _scene_logits(
        self,
        batch: Batch,
        scene: int,
        states: Tensor,
        embeddings: Tensor,
        regions: RegionEmbeddings,
    ) -> Tensor:
        """Return (N_i, K_i) logits of one scene, cut out of its row; `regions` are its own."""
        packed, queries = batch.packed, batch.targets[scene].shape[1]
        row = int((packed.scene == scene).any(1).nonzero()[0])
        mine, branch = packed.scene[row] == scene, packed.branch[row]
        prefix, asked = mine & (branch < 0), mine & (branch >= 0) & (branch < queries)
        classes = batch.query_classes[scene]
        shown = prefix | asked  # the queries stand right behind the prefix
        return self.model.score_row(
            0,
            packed.ids[row, prefix][None],
            Branches(
                packed.ids[row, asked][None], branch[asked][None], batch.words[row, asked][None]
            ),
            states[row, shown][None],
            embeddings[row, shown][None],
            regions if classes else replace(regions, evidence=()),
            classes,
        )

    def _untouched(self, batch: Batch, regions: RegionEmbeddings | None) -> Tensor | float:
        """Return 0, of parameters that this batch did not use: every process has to reduce the same gradients."""
        model = self.model
        idle: list[Any] = []
        if regions is None:
            idle += model.region_encoder.parameters()
            idle += model.pointer.parameters() if model.pointer is not None else ()
        if not batch.pictures:
            language = {id(p) for p in model.vlm.get_decoder().parameters()}
            language |= {id(p) for p in model.get_output_embeddings().parameters()}
            idle += [p for p in model.vlm.parameters() if id(p) not in language]
            idle += model.image_projector.parameters()
        if model.score_head is not None and (regions is None or not batch.num_queries):
            idle += model.score_head.parameters()
        return sum((p.sum() * 0.0 for p in idle if p.requires_grad and p.numel()), start=0.0)
