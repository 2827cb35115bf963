"""FO1: pictures in, answers out."""

import os
from pathlib import Path
from typing import Self

import numpy as np
import torch

from fo1.errors import BoxError, InputError
from fo1.geometry import check_boxes
from fo1.imaging import ImageSource, load_image
from fo1.pipeline.engine import Engine
from fo1.pipeline.loading import PACKAGED, choose_device, find_model, load_engine
from fo1.pipeline.proposers import ModelProposers, check_proposer
from fo1.pipeline.request import GIVEN
from fo1.pipeline.scene import Scene
from fo1.pipeline.verbs import Boxes, Verbs
from fo1.proposals import Proposer
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.results import Proposals


class FO1(Verbs):
    """A loaded model. `encode` makes a `Scene`; the verbs do that and ask, in one call.

    Several threads may share one object.
    """

    def __init__(
        self, engine: Engine, folder: Path, *, proposer: str | Proposer | None = None
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
        proposer: str | Proposer | None = None,
    ) -> Self:
        """Return a model with its weights in memory.

        Args:
            name_or_path: "nano", which ships with the package and needs no network; a folder in our
                layout or in the published one; or a hub id such as "owner/name".
            device: "cpu", "cuda", ...; CUDA where there is a GPU, else the CPU, if not given.
            dtype: of the weights; bfloat16 on CUDA and float32 elsewhere if not given.
            proposer: where boxes come from unless a call says otherwise: a name or an object.

        Raises:
            CheckpointError: there is no such model, or its files are incomplete or damaged.
            InputError: the device or the proposer is unknown.
        """
        if proposer is not None:
            check_proposer(proposer)
        name = name_or_path if isinstance(name_or_path, str) else Path(name_or_path)
        chosen = choose_device(device)
        folder = find_model(name)
        return cls(load_engine(name, folder, chosen, dtype), folder, proposer=proposer)

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

    def get_proposer(self, proposer: str | Proposer | None = None) -> Proposer:
        """Return the proposer of a name, made on first use; the model's own without a name.

        Raises:
            InputError: no proposer has this name.
            CheckpointError: its weights are missing or damaged.
            MissingExtraError: it needs a package that is not installed.
        """
        return self._proposers.get(self._proposer if proposer is None else proposer)

    def propose(
        self,
        image: ImageSource,
        *,
        proposer: str | Proposer | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Proposals:
        """Return at most `limit` boxes that may hold something, best first.

        Raises:
            InputError: no proposer has this name, or the limit is below 1.
        """
        if limit < 1:
            raise InputError(f"limit is {limit} proposals; give 1 or more")
        chosen = self.get_proposer(proposer)
        found = chosen.propose(load_image(image))
        source = found.source or chosen.name
        return Proposals(found.boxes[:limit], found.scores[:limit], source)

    def encode(
        self,
        image: ImageSource,
        boxes: Boxes | None = None,
        *,
        proposer: str | Proposer | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Scene:
        """Return a scene; the picture is encoded once, whatever is asked afterwards.

        Args:
            image: a path, bytes, a data URL, a PIL image or an array.
            boxes: (N, 4) xyxy pixels of the picture, which become the regions in this order, N may
                be 0; or `Proposals`, whose scores are kept. Proposed if not given.
            proposer: where boxes come from; the model's own proposer if not given.
            limit: the most boxes to propose.

        Raises:
            ImageError: the picture cannot be read.
            BoxError: boxes are malformed, outside the picture, or more than the model has tokens.
            InputError: no proposer has this name, or the limit is below 1.
        """
        picture = load_image(image)
        size = (picture.height, picture.width)
        most, problems = self.engine.max_regions, ()
        if boxes is None:
            boxes = self.propose(picture, proposer=proposer, limit=limit)
        if isinstance(boxes, Proposals):
            proposals = Proposals(check_boxes(boxes.boxes, size), boxes.scores, boxes.source)
            if len(proposals) > most:
                problems = (
                    f"kept the {most} best of {len(proposals)} proposals: "
                    f"the model has {most} region tokens",
                )
                kept = np.sort(np.argsort(-proposals.scores, kind="stable")[:most])
                proposals = Proposals(
                    proposals.boxes[kept], proposals.scores[kept], proposals.source
                )
        else:
            given = check_boxes(boxes, size)
            if len(given) > most:
                raise BoxError(
                    f"got {len(given)} boxes, '{self.name}' takes at most {most} per picture; "
                    "give fewer, or encode the picture in parts"
                )
            proposals = Proposals(given, np.ones(len(given), np.float32), GIVEN)
        proposals.boxes.flags.writeable = proposals.scores.flags.writeable = False
        return Scene(
            image_size=size,
            regions=proposals.boxes,
            proposal_scores=proposals.scores,
            proposer=proposals.source,
            problems=problems,
            tensors=self.engine.encode(picture, proposals.boxes),
            engine=self.engine,
        )
