"""FO1: pictures in, answers out."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import torch
from PIL import Image

from fo1.errors import InputError
from fo1.geometry import as_points
from fo1.imaging import ImageSource, load_image
from fo1.ordering import region_order
from fo1.pipeline.answering import reply_each
from fo1.pipeline.chat import Reply, read_messages
from fo1.pipeline.engine import Engine
from fo1.pipeline.loading import PACKAGED, choose_device, find_model, load_engine
from fo1.pipeline.proposers import ModelProposers, check_proposer
from fo1.pipeline.regions import boxes_at, given_regions
from fo1.pipeline.request import GIVEN
from fo1.pipeline.rows import PictureTensors
from fo1.pipeline.scene import Scene
from fo1.pipeline.side_by_side import Item, Result, side_by_side
from fo1.pipeline.verbs import Boxes, One, Verbs
from fo1.prompts import as_queries
from fo1.proposals import Proposer, names
from fo1.proposals.base import DEFAULT_LIMIT, prompted
from fo1.proposals.callables import ProposerLike, as_proposals, is_supervision
from fo1.proposals.own import OwnProposer
from fo1.results import Proposals


class FO1(Verbs):
    """A loaded model. `encode` makes a `Scene`; the verbs do that and ask, in one call.

    All verbs take one picture or several and, besides what they ask, the options `boxes`, `proposer`
    and `limit` of `encode`, and `batch_size`, the pictures that are answered in one pass (1). A scene
    is a picture with regions: without these options the verbs ask about those.

    Several threads may share one object. Copies and pickles hold the weights, but nothing that was kept of pictures.
    """

    def __init__(
        self, engine: Engine, folder: Path, *, proposer: ProposerLike | None = None
    ) -> None:
        """Use `from_pretrained`.

        Args:
            engine: the model.
            folder: its files, which may hold weights of proposers.
            proposer: where boxes come from unless a call says otherwise.

        Raises:
            InputError: no proposer has this name.
        """
        self.engine = engine
        self.folder = folder
        self._proposers = ModelProposers(engine, folder)
        self._proposer = self._proposers.default if proposer is None else check_proposer(proposer)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = PACKAGED,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        device_map: str | dict[str, Any] | None = None,
        proposer: ProposerLike | None = None,
    ) -> Self:
        """Return a model with its weights in memory.

        Args:
            name_or_path: "nano", which ships with the package and needs no network; a folder in our
                layout or in the published one; or a hub id such as "owner/name".
            device: "cpu", "cuda", ...; CUDA where there is a GPU, else the CPU, if not given.
            dtype: of the weights; bfloat16 on CUDA and float32 elsewhere if not given.
            device_map: spreads a large model over several devices, for example "auto"; in place of
                `device`.
            proposer: where boxes come from unless a call says otherwise: a name (`fo1.proposals.names`), a
                folder or hub id of a detector of transformers, an object with a name and a method
                propose(image), or a function from an RGB picture to boxes (see docs/proposals.md).

        Raises:
            CheckpointError: there is no such model, or its files are incomplete or damaged.
            InputError: the device or the proposer is unknown, or device and device_map are given.
            MissingExtraError: device_map needs a package that is not installed.
        """
        if proposer is not None:
            check_proposer(proposer)
        if device_map is not None and device is not None:
            raise InputError("got device and device_map; give one of them")
        name = name_or_path if isinstance(name_or_path, str) else Path(name_or_path)
        chosen = choose_device(device)
        folder = find_model(name)
        engine = load_engine(name, folder, chosen, dtype, device_map)
        return cls(engine, folder, proposer=proposer)

    def __repr__(self) -> str:
        return f"FO1({self.name!r}, device={str(self.device)!r})"

    @property
    def name(self) -> str:
        """What the model is called: "nano", a folder or a hub id."""
        return self.engine.name

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.engine.model.device

    def get_proposer(
        self, proposer: ProposerLike | None = None, limit: int = DEFAULT_LIMIT
    ) -> Proposer:
        """Return the proposer of a name, made on first use; the model's own without a name.

        Args:
            proposer: a name, or a function; an object is returned as it is.
            limit: how many boxes a named one must be able to give.

        Raises:
            InputError: no proposer has this name, the object proposes nothing, or the limit is below 1.
            CheckpointError: its weights are missing or damaged.
            MissingExtraError: it needs a package that is not installed.
        """
        return self._proposers.get(self._proposer if proposer is None else proposer, limit)

    def propose(
        self,
        image: ImageSource,
        *,
        proposer: ProposerLike | None = None,
        limit: int = DEFAULT_LIMIT,
        queries: str | Sequence[str] = (),
    ) -> Proposals:
        """Return at most `limit` boxes that may hold something, best first.

        Args:
            image: as in `encode`.
            proposer: as in `encode`.
            limit: as in `encode`.
            queries: what a proposer that is prompted with text looks for; others do not look at them.

        Raises:
            InputError: no proposer has this name, or the limit is below 1.
        """
        return self._propose(load_image(image), proposer, limit, queries)[0]

    def _propose(
        self,
        picture: Image.Image,
        proposer: ProposerLike | None,
        limit: int,
        queries: str | Sequence[str],
        encoded: PictureTensors | None = None,
    ) -> tuple[Proposals, PictureTensors | None]:
        """Return boxes, and the encoded picture if there is one."""
        chosen = prompted(self.get_proposer(proposer, limit), as_queries(queries))
        if isinstance(chosen, OwnProposer):
            encoded = encoded or self.engine.see(picture)
            size = (picture.height, picture.width)
            found = chosen.from_maps(self.engine.maps(encoded).auxiliary[0], size)
        else:
            found = chosen.propose(picture)
            if not isinstance(found, Proposals):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InputError(
                    f"proposer '{chosen.name}' gave a {type(found).__name__}; "
                    "have it return Proposals(boxes, scores)"
                )
        named = replace(found, source=found.source or chosen.name)
        return named.select(slice(limit)), encoded

    def encode(
        self,
        image: One,
        boxes: Boxes | None = None,
        *,
        masks: Any = None,
        points: npt.ArrayLike | None = None,
        proposer: ProposerLike | None = None,
        limit: int = DEFAULT_LIMIT,
        queries: str | Sequence[str] = (),
    ) -> Scene:
        """Return a scene; the picture is encoded once, whatever is asked afterwards.

        Args:
            image: a path, bytes, a data URL, a PIL image, an array or a tensor; or a scene of this model, whose
                picture gets other regions without being encoded again.
            boxes: (N, 4) xyxy pixels of the picture, which become the regions in this order, N may
                be 0 or any number; or `Proposals`, whose scores and labels are kept; or
                `supervision.Detections`, which are proposals if they have confidences, and whose
                masks count. Proposed if not given.
            masks: one per region, pooled in place of its box: an (N, H, W) array of truth values, or a list of arrays,
                COCO run lengths or polygons, see `fo1.formats.masks.as_masks`. Boxes are those around the masks if
                not given.
            points: (N, 2) x and y in pixels; the smallest proposed box that holds a point becomes its region. For
                masks at points, see `fo1.segmentation`.
            proposer: where boxes come from, as in `from_pretrained`; the model's own if not given.
            limit: the most boxes to propose.
            queries: what a proposer that is prompted with text looks for, "object" if not given; others
                do not look at them. The verbs of `FO1` tell it what they ask for. A scene has its
                regions once: what is asked of it later is not looked for anew.

        Raises:
            ImageError: the picture cannot be read.
            BoxError: boxes are malformed or outside the picture.
            InputError: no proposer has this name, the limit is below 1, or what is given excludes each other; masks
                or points are malformed, or no box holds a point.
        """
        if proposer is not None and not (boxes is None and masks is None):
            given = "boxes" if masks is None else "masks"
            raise InputError(f"got {given} and a proposer; give one of them")
        if points is not None and not (boxes is None and masks is None):
            raise InputError("got points and other regions; give one of them")
        encoded = None
        if isinstance(image, Scene):
            encoded = self._own(image).tensors.picture
            picture = encoded.image
        else:
            picture = load_image(image)
        size = (picture.height, picture.width)
        if points is not None:
            as_points(points, size)  # before any work
        if boxes is None and masks is None:
            found, encoded = self._propose(picture, proposer, limit, queries, encoded)
            if points is None:
                policy = self.engine.model.config.region_order
                boxes = found.select(region_order(found.boxes, found.scores, policy, size))
            else:
                boxes = boxes_at(points, found, size)
        elif is_supervision(boxes):
            masks = getattr(boxes, "mask", None) if masks is None else masks
            if boxes.confidence is not None:
                boxes = as_proposals(boxes, GIVEN)
        proposals, read = given_regions(boxes, masks, size)
        return Scene(
            image_size=size,
            regions=proposals.boxes,
            proposal_scores=proposals.scores,
            proposal_labels=proposals.labels,
            proposer=proposals.source,
            # Who points at a thing says that it is there.
            proposed=isinstance(boxes, Proposals) and points is None,
            tensors=self.engine.encode(picture, proposals.boxes, read)
            if encoded is None
            else self.engine.place(encoded, proposals.boxes, read),
            engine=self.engine,
            masks=read,
        )

    def chat(self, messages: Iterable[Mapping[str, Any]]) -> Reply:
        """Return what the model says next in a chat about any number of pictures.

        Example:
            >>> reply = model.chat([
            ...     {"role": "system", "content": "Answer in one word."},
            ...     {"role": "user", "content": [
            ...         {"type": "image", "image": "a.jpg", "boxes": [[10, 20, 90, 80]]},
            ...         {"type": "image", "image": scene},
            ...         {"type": "text", "text": "is <region0> the same as <region1>?"},
            ...     ]},
            ... ])  # doctest: +SKIP
            >>> messages += [reply.message, {"role": "user", "content": "why?"}]  # doctest: +SKIP

        Args:
            messages: oldest first, in the form that chat templates take. An image is whatever
                `encode` takes, with the boxes beside it as regions, without any if there are none;
                or a `Scene` with its regions. Regions count on from picture to picture, and
                `<region3>` in a text names one.

        Raises:
            InputError: a message has another form, or the last one is not the user's.
            QueryError: a text is empty or names a region that does not exist.
            ImageError: a picture cannot be read.
            BoxError: boxes are malformed or outside their picture.
        """
        return reply_each([read_messages(messages, self._scene)], self.engine)[0]

    def encode_side_by_side(
        self,
        encode: Callable[[Item], Result],
        items: Sequence[Item],
        proposer: ProposerLike | None = None,
    ) -> list[Result]:
        """Return what `encode` makes of every item, in their order; in several threads where that is faster.

        Args:
            encode: encodes one picture by this model.
            items: what it takes.
            proposer: where it takes boxes from; the model's own if None. Only those of this package are asked from
                several threads, for who knows whether another may be.
        """
        if (proposer or self._proposer) not in names():
            return [encode(item) for item in items]
        return side_by_side(encode, items, self.device)

    def _encoded(
        self,
        image: One,
        boxes: Boxes | None = None,
        *,
        queries: Sequence[str] = (),
        **options: Any,
    ) -> Scene:
        others = [boxes, *options.values()]
        if isinstance(image, Scene) and all(option is None for option in others):
            return self._own(image)
        return self.encode(image, boxes, queries=queries, **options)

    def _encode_all(
        self, pictures: Sequence[tuple[One, Any]], options: dict[str, Any]
    ) -> list[Scene]:
        return self.encode_side_by_side(
            lambda pair: self._encoded(*pair, **options), pictures, options.get("proposer")
        )

    def _scene(self, image: Any, boxes: Any) -> Scene:
        """Return a scene as it is, and another picture with the boxes given, or without any."""
        if not isinstance(image, Scene):
            return self.encode(image, [] if boxes is None else boxes)
        if boxes is not None:
            raise InputError("got a scene and boxes; a scene has its regions, leave the boxes out")
        return self._own(image)

    def _own(self, scene: Scene) -> Scene:
        """Return a scene that this model encoded.

        Raises:
            InputError: another one did.
        """
        if scene.engine is not self.engine:
            raise InputError(
                f"the scene was encoded by '{scene.engine.name}', this is '{self.name}'; "
                "encode the picture again"
            )
        return scene
