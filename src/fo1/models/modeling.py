"""FO1: a host VLM, never edited, that reads region tokens and answers by naming them.

    encode_images -> PictureEncoding -> encode_regions -> RegionEmbeddings -> fuse -> host.forward / host.generate

Legend: B sequences, T tokens, I pictures, N regions of all pictures, C region features, D language width.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from fo1.models.configuration import FO1Config
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.families import get_family
from fo1.models.hosts import embedding_host
from fo1.models.pointing import Pointables, Pointer, pointing_host
from fo1.models.precision import KeepsBuffers
from fo1.models.prefix import continue_prefix, read_prefix
from fo1.models.published.reading import (
    is_published,
    published_config,
    published_generation_config,
    published_weights,
)
from fo1.models.region_encoder import RegionEncoder, make_projector
from fo1.models.scoring import (
    Branches,
    ScoreHead,
    branch_mask,
    branch_positions,
    match_evidence,
)
from fo1.models.tensor_files import check_complete

ATTENTION_LAYERS = frozenset(
    {"full_attention", "sliding_attention", "chunked_attention", "moe", "mlp"}
)
"""Kinds of layers, by the library's names, in which a token sees exactly those that its mask shows."""


class FO1ForConditionalGeneration(KeepsBuffers, PreTrainedModel, GenerationMixin):
    """Owns a host VLM, a region encoder and, in models trained here, a score head and a pointer.

    Args:
        config: of all parts.
        vlm: the host, where it exists already; made from its config otherwise.
    """

    config_class = FO1Config
    base_model_prefix = "vlm"
    input_modalities = ["image", "text"]  # noqa: RUF012 - the library's own type
    supports_gradient_checkpointing = True
    # Half precision would shift boxes and probabilities: bfloat16 keeps 8 bits.
    _keep_in_fp32_modules_strict = [  # noqa: RUF012 - the library's own type
        *("score_head", "pointer", "auxiliary.classifier", "auxiliary.detector"),
        "auxiliary.objectness",
        *("auxiliary.feature_mean", "auxiliary.feature_std", "auxiliary.familiarity"),
    ]
    # Their methods are called past `forward`, so each has to lie on one device; the host adds its own.
    _no_split_modules = ["RegionEncoder", "ScoreHead", "Pointer"]  # noqa: RUF012 - the library's own type
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: FO1Config, vlm: PreTrainedModel | None = None):
        super().__init__(config)
        self.family = get_family(config.vlm_config.model_type)
        if vlm is None:
            vlm = AutoModelForImageTextToText.from_config(config.vlm_config)
        self.vlm: Any = vlm
        width = config.get_text_config().hidden_size
        self.image_projector = make_projector(
            config.image_projector, self.family.token_width(config.vlm_config), width
        )
        self.region_encoder = RegionEncoder(config.region_config)
        self.score_head = ScoreHead(config.score_config, width) if config.score_config else None
        self.pointer = Pointer(width, config.pointer_width) if config.pointer_width else None
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a model from a folder or hub id, in our layout or in the published one; weights are read once."""
        name = pretrained_model_name_or_path
        folder = Path(name) if isinstance(name, str | Path) else None
        with_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        if folder is not None and (folder / "config.json").is_file() and is_published(folder):
            kwargs.setdefault("config", published_config(folder))
            kwargs["state_dict"] = published_weights(folder)
            model, info = cast(Any, super().from_pretrained(None, *args, **kwargs))
            model.generation_config = published_generation_config(folder)
        else:
            model, info = cast(Any, super().from_pretrained(name, *args, **kwargs))
        check_complete(info, str(name))
        return (model, info) if with_info else model

    @classmethod
    def from_vlm(cls, vlm: Any, **options: Any) -> tuple[Any, Any]:
        """Return a host with region tokens, not trained yet, and its processor; see `assembly.assemble`."""
        from fo1.models.assembly import assemble

        return assemble(vlm, **options)

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the host's token embeddings."""
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        """Replace the host's token embeddings."""
        self.vlm.set_input_embeddings(value)

    def get_output_embeddings(self) -> torch.nn.Module:
        """Return the host's vocabulary head."""
        return self.vlm.get_output_embeddings()

    def set_output_embeddings(self, value: torch.nn.Module) -> None:
        """Replace the host's vocabulary head."""
        self.vlm.set_output_embeddings(value)

    def encode_images(self, inputs: Mapping[str, Any]) -> PictureEncoding:
        """Return the encoding of all pictures of a batch; each vision encoder in use runs exactly once.

        Args:
            inputs: what the processor made: the host's pixels under the family's own names and
                `auxiliary_pixel_values`, a list of (3, H_i, W_i); without them the auxiliary encoder does not run
                and regions need features that were pooled before.
        """
        host = self.family.encode_images(self.vlm, inputs)
        if len(self.image_projector):
            host = replace(host, tokens=tuple(map(self.image_projector, host.tokens)))
        encoder = self.region_encoder
        auxiliary = inputs.get("auxiliary_pixel_values") if encoder.config.use_auxiliary else None
        if auxiliary is not None and len(auxiliary) != len(host.maps):
            raise ValueError(
                f"got {len(host.maps)} pictures for the host but {len(auxiliary)} for the auxiliary encoder; "
                "make both with FO1Processor"
            )
        return PictureEncoding(
            host=host,
            levels=tuple(encoder.host_levels(maps) for maps in host.maps),
            auxiliary=tuple(
                # Encoders choose their own type; the picture's size has no place in half precision.
                encoder.auxiliary(pixels[None].to(self.device, torch.float32))
                for pixels in auxiliary or ()
            ),
        )

    def encode_regions(
        self,
        encoding: PictureEncoding,
        auxiliary_boxes: Sequence[Tensor] | None,
        host_boxes: Sequence[Tensor],
        auxiliary_features: Sequence[Tensor] | None = None,
        masks: Sequence[Tensor | None] | None = None,
    ) -> RegionEmbeddings:
        """Return one embedding per box.

        Args:
            encoding: the pictures.
            auxiliary_boxes: per picture (N_i, 4), pixels of the auxiliary encoder's input; None with features.
            host_boxes: per picture (N_i, 4), pixels of the host's frame.
            auxiliary_features: per picture (N_i, Ca) already pooled, in place of pooling (training from a cache).
            masks: per picture (N_i, M, M) what counts of each box, or None where boxes count as a whole.
        """
        given = host_boxes if auxiliary_features is None else auxiliary_features
        for what, count in (("boxes", len(host_boxes)), ("auxiliary features", len(given))):
            if count != len(encoding.levels):
                raise ValueError(
                    f"got {what} for {count} pictures, but {len(encoding.levels)} pictures"
                )
        encoder = self.region_encoder
        covered = [None] * len(host_boxes) if masks is None else masks
        boxes, frames = host_boxes, [maps.frame for maps in encoding.host.maps]
        pooled: Sequence[Any] = auxiliary_features or [None] * len(host_boxes)
        in_auxiliary_frame = encoder.config.box_frame == "auxiliary"
        if encoder.config.use_auxiliary and (auxiliary_features is None or in_auxiliary_frame):
            if auxiliary_boxes is None:
                raise ValueError(
                    "this model embeds boxes of the auxiliary encoder's frame; pass auxiliary_boxes as well"
                    if auxiliary_features
                    else "got neither boxes nor features for the auxiliary encoder; pass one of them"
                )
            if len(encoding.auxiliary) != len(host_boxes):
                raise ValueError(
                    f"got boxes for {len(host_boxes)} pictures, but the auxiliary encoder saw "
                    f"{len(encoding.auxiliary)}; give encode_images their auxiliary_pixel_values"
                )
            if auxiliary_features is None:
                per_picture = zip(encoding.auxiliary, auxiliary_boxes, covered, strict=True)
                pooled = [encoder.pool_auxiliary(*own) for own in per_picture]
            if in_auxiliary_frame:
                boxes = auxiliary_boxes
                frames = [encoder.auxiliary.frame(maps) for maps in encoding.auxiliary]
        features = torch.cat(
            [
                encoder.fuse(own, encoder.pool_host(levels, seen, maps, mask), box, frame)
                for own, levels, maps, seen, mask, box, frame in zip(
                    pooled,
                    encoding.levels,
                    encoding.host.maps,
                    host_boxes,
                    covered,
                    boxes,
                    frames,
                    strict=True,
                )
            ]
        )
        read_out = getattr(encoder.auxiliary, "evidence", None)
        wanted = self.score_head is not None and self.score_head.config.evidence_sources
        if not read_out or not wanted:
            return RegionEmbeddings(features, encoder.project(features), ())
        own = torch.cat(list(pooled))
        familiar = encoder.auxiliary.familiar(own)
        return RegionEmbeddings(features, encoder.project(features), read_out(own), familiar)

    def fuse(
        self,
        input_ids: Tensor,
        regions: RegionEmbeddings | None,
        region_index: Tensor | None = None,
    ) -> Tensor:
        """Return (B, T, D) input embeddings with region embeddings at the placeholders.

        Args:
            input_ids: (B, T).
            regions: the regions of all pictures; None for text without regions.
            region_index: (M,) row of `regions` for each of the M placeholders, in order; None when every region is
                mentioned exactly once.
        """
        embeddings = self.get_input_embeddings()(input_ids)
        mask = input_ids == self.config.region_placeholder_id
        rows = embeddings.new_zeros(0, embeddings.shape[-1])
        if regions is not None:
            rows = regions.embeddings if region_index is None else regions.embeddings[region_index]
        count = int(mask.sum())
        if count != len(rows):
            raise ValueError(
                f"got {len(rows)} regions but {count} region placeholders; pass boxes through FO1Processor"
            )
        return embeddings.masked_scatter(mask[..., None].expand_as(embeddings), rows.to(embeddings))

    def host_inputs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        encoding: PictureEncoding | None,
        regions: RegionEmbeddings | None,
        region_index: Tensor | None,
        inputs: dict[str, Any],
    ) -> dict[str, Any]:
        """Return what the host's forward takes; names of picture inputs are removed from `inputs`."""
        pictures = {
            name: inputs.pop(name)
            for name in (
                *self.family.image_inputs,
                "auxiliary_pixel_values",
                "auxiliary_boxes",
                "host_boxes",
            )
            if name in inputs
        }
        if encoding is None and any(
            "pixel_values" in name and value is not None for name, value in pictures.items()
        ):
            encoding = self.encode_images(pictures)
        if regions is None and encoding is not None and pictures.get("auxiliary_boxes") is not None:
            regions = self.encode_regions(
                encoding, pictures["auxiliary_boxes"], pictures["host_boxes"]
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if position_ids is None:
            # Explicit positions: the host would otherwise read them from state left by an earlier call.
            position_ids = self.family.position_ids(self.vlm, input_ids, attention_mask, pictures)
        host: dict[str, Any] = {
            "inputs_embeds": self.fuse(input_ids, regions, region_index),
            "position_ids": position_ids,
            **self.family.attention(self.vlm.config, input_ids, attention_mask),
        }
        if attention_mask.ndim == 4 and self.window is not None:
            self.check_attention(int(attention_mask.sum(-1).max()))
        if encoding is not None:
            host["mm_encoder_outputs"] = {
                "image": self.family.for_host(self.vlm.config, encoding.host)
            }
        return host

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        encoding: PictureEncoding | None = None,
        regions: RegionEmbeddings | None = None,
        region_index: Tensor | None = None,
        pointables: Sequence[Pointables] | None = None,
        **inputs: Any,
    ) -> ModelOutput:
        """Return the host's own output (loss, logits, cache).

        Args:
            input_ids: (B, T), made by FO1Processor.
            attention_mask: (B, T), or (B, 1, T, T) together with `position_ids`.
            position_ids: positions of the family's own shape; computed when left out.
            labels: (B, T), -100 where no loss is taken.
            encoding: pictures already encoded, in place of pixels.
            regions: regions already encoded, in place of boxes.
            region_index: (M,) region of each placeholder; None when each is mentioned once.
            pointables: per row what its index tokens point at, from the method of that name; needed where a model with
                a pointer continues a cache, the regions of the rows otherwise.
            inputs: pixels and boxes as made by FO1Processor; anything else goes to the host.

        Raises:
            ValueError: a cache is continued without `position_ids` or `pointables`, or two streams do not match.
        """
        cache = inputs.get("past_key_values")
        if cache is not None and cache.get_seq_length():
            going_on = f"{input_ids.shape[1]} tokens continue {cache.get_seq_length()} cached ones"
            if position_ids is None:
                raise ValueError(
                    f"{going_on} without positions; pass position_ids, the host's own may stem from another scene"
                )
            if self.pointer is not None and pointables is None:
                raise ValueError(f"{going_on}, whose regions are not known; pass pointables")
        host = self.host_inputs(
            input_ids, attention_mask, position_ids, encoding, regions, region_index, inputs
        )
        if pointables is None:
            pointables = self.pointables(input_ids, host["inputs_embeds"])
        return self.pointing(pointables)(**host, labels=labels, **inputs)

    def pointables(self, input_ids: Tensor, embeddings: Tensor) -> list[Pointables] | None:
        """Return per row what its index tokens point at; None for a model without a pointer.

        Args:
            input_ids: (B, T).
            embeddings: (B, T, D) from `fuse`.
        """
        if self.pointer is None:
            return None
        placeholder = self.config.region_placeholder_id
        return [
            self.pointer.pointables(ids, own, placeholder)
            for ids, own in zip(input_ids, embeddings, strict=True)
        ]

    def pointing(self, pointables: Sequence[Pointables] | None) -> Any:
        """Return the host, whose index tokens point at these pointables, one per row; the host itself without any."""
        if self.pointer is None or not pointables:
            return self.vlm
        return pointing_host(self.vlm, self.pointer, pointables)

    def read_words(self, states: Tensor, pointables: Pointables | None) -> Tensor:
        """Return (..., V) logits of last hidden states (..., D) of one row, by vocabulary head and pointer."""
        logits = self.get_output_embeddings()(states)
        if self.pointer is None or pointables is None:
            return logits
        return self.pointer.add(logits, states, pointables)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        encoding: PictureEncoding | None = None,
        regions: RegionEmbeddings | None = None,
        region_index: Tensor | None = None,
        **inputs: Any,
    ) -> Any:
        """Return prompt and answer ids (B, T + new), by the host's own `generate`.

        Arguments are those of `forward`, then those of `GenerationMixin.generate`.

        Raises:
            ValueError: a mode that reads the prompt again from its ids, which do not hold regions.
        """
        settings = copy.deepcopy(inputs.pop("generation_config", None) or self.generation_config)
        rest = settings.update(**inputs)
        for mode in ("prompt_lookup_num_tokens", "prefill_chunk_size", "assistant_model"):
            if getattr(settings, mode, None) is not None or rest.get(mode) is not None:
                raise ValueError(f"{mode} reads the prompt without its regions; leave it out")
        host = self.host_inputs(
            input_ids, attention_mask, None, encoding, regions, region_index, rest
        )
        vlm = self.pointing(self.pointables(input_ids, host["inputs_embeds"]))
        return embedding_host(vlm).generate(
            input_ids=input_ids, generation_config=settings, **host, **rest
        )

    def branch_states(
        self,
        prefix_ids: Tensor,
        prefix_mask: Tensor,
        branches: Branches,
        encoding: PictureEncoding | None = None,
        regions: RegionEmbeddings | None = None,
        region_index: Tensor | None = None,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return last hidden states and input embeddings (B, P + T, D) of a prefix and its branches, in one pass.

        Args:
            prefix_ids: (B, P), left-padded.
            prefix_mask: (B, P).
            branches: what continues each prefix; a branch sees the prefix and itself only.
            encoding: as in `forward`.
            regions: as in `forward`.
            region_index: as in `forward`; placeholders count row by row, prefix first.
            inputs: as in `forward`.

        Raises:
            ValueError: layers of the host would not see all of it, or see more than a branch should.
        """
        if self.recurrent:
            raise ValueError(
                f"got {int(branches.owner.max()) + 1} branches, but layers of this host carry a state from token to "
                "token; use read_prefix and continue_prefix"
            )
        image_inputs = {k: inputs[k] for k in self.family.image_inputs if k in inputs}
        positions = self.family.position_ids(self.vlm, prefix_ids, prefix_mask, image_inputs)
        host = self.host_inputs(
            torch.cat([prefix_ids, branches.ids], dim=1),
            branch_mask(prefix_mask, branches.owner),
            branch_positions(positions, prefix_mask, branches),
            encoding,
            regions,
            region_index,
            inputs,
        )
        states = self.vlm.base_model(**host, use_cache=False).last_hidden_state
        return states, host["inputs_embeds"]

    def score(
        self,
        prefix_ids: Tensor,
        branches: Branches,
        regions: RegionEmbeddings,
        query_classes: Sequence[Sequence[Sequence[int]]] = (),
        **inputs: Any,
    ) -> Tensor:
        """Return (N, K) float32 logits: which of the N regions of one scene match each of K queries.

        Without gradient where layers of the host carry a state from token to token.

        Args:
            prefix_ids: (1, P) picture and regions, each region mentioned once.
            branches: one row with one branch per query.
            regions: the scene's regions.
            query_classes: per evidence source and query, the class indices that the query names.
            inputs: as in `forward`.

        Raises:
            ValueError: the model has no score head.
        """
        self._need_score_head()
        if self.recurrent:
            prefix = read_prefix(self, prefix_ids, regions=regions, **inputs)
            states, embeddings = continue_prefix(self, prefix, branches)
            found = prefix.region_states, branches, 0, states[0], embeddings[0]
            return self.score_branches(*found, regions, query_classes)
        states, embeddings = self.branch_states(
            prefix_ids, torch.ones_like(prefix_ids), branches, regions=regions, **inputs
        )
        return self.score_row(0, prefix_ids, branches, states, embeddings, regions, query_classes)

    def score_row(
        self,
        row: int,
        prefix_ids: Tensor,
        branches: Branches,
        states: Tensor,
        embeddings: Tensor,
        regions: RegionEmbeddings,
        query_classes: Sequence[Sequence[Sequence[int]]] = (),
    ) -> Tensor:
        """Return (N, K) logits of one row of `branch_states`; arguments as in `score`."""
        prefix = prefix_ids.shape[1]
        placed = prefix_ids[row] == self.config.region_placeholder_id
        return self.score_branches(
            states[row, :prefix][placed.to(states.device)],
            branches,
            row,
            states[row, prefix:],
            embeddings[row, prefix:],
            regions,
            query_classes,
        )

    def score_branches(
        self,
        region_states: Tensor,
        branches: Branches,
        row: int,
        states: Tensor,
        embeddings: Tensor,
        regions: RegionEmbeddings,
        query_classes: Sequence[Sequence[Sequence[int]]] = (),
    ) -> Tensor:
        """Return (N, K) logits of the branches of one row.

        Args:
            region_states: (N, D) last hidden states of the regions.
            branches: K of them in this row.
            row: their row.
            states: (T, D) last hidden states of the branches.
            embeddings: (T, D) input embeddings of the branches.
            regions: the N regions.
            query_classes: as in `score`.

        Raises:
            ValueError: the model has no score head.
        """
        return self._need_score_head()(
            region_states,
            regions.embeddings,
            states[branches.ends(row).to(states.device)],
            branches.mean_words(row, embeddings),
            match_evidence(regions.evidence, query_classes) if regions.evidence else None,
        )

    @property
    def recurrent(self) -> bool:
        """Whether layers of the host carry a state from token to token: no mask hides from them what came before."""
        return not ATTENTION_LAYERS.issuperset(self._layer_kinds)

    def check_attention(self, length: int) -> None:
        """Raises a ValueError if layers of the host would not see as many tokens."""
        if self.window is not None and self.window < length:
            raise ValueError(
                f"the host's layers see {self.window} tokens, the sequence has {length}; give fewer regions or queries"
            )

    @property
    def window(self) -> int | None:
        """How many tokens all layers of the host see at least; None where they see all."""
        text: Any = self.config.get_text_config(decoder=True)
        # Where kinds are not told apart, a window that is set is that of every layer.
        kinds = self._layer_kinds or ("sliding_attention", "chunked_attention")
        bounds = {
            "sliding_attention": "sliding_window",
            "chunked_attention": "attention_chunk_size",
        }
        windows = [getattr(text, bound, None) for kind, bound in bounds.items() if kind in kinds]
        return min(filter(None, windows), default=None)

    @property
    def _layer_kinds(self) -> Sequence[str]:
        """Kind of each layer of the host's language model, by the library's names; none where it has one kind."""
        text = self.config.get_text_config(decoder=True)
        return getattr(text, "layer_types", None) or ()

    def _need_score_head(self) -> ScoreHead:
        if self.score_head is None:
            raise ValueError("this model has no score head; use generate, or train one")
        return self.score_head
