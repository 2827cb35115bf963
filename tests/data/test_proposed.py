"""Proposals are kept per source: records of two data sets may have one key."""

from pathlib import Path

import numpy as np
from PIL import Image

from fo1.data.proposed import ProposedRecords
from fo1.data.schema import PictureRef, Record
from fo1.results import Proposals


class Sides:
    """Proposes the whole picture."""

    name = "sides"

    def __init__(self) -> None:
        self.asked = 0

    def propose(self, image: Image.Image) -> Proposals:
        self.asked += 1
        box = np.array([[0, 0, image.width, image.height]], np.float32)
        return Proposals(box, np.ones(1, np.float32), self.name)


def test_each_source_has_its_own_and_each_record_is_asked_once(tmp_path: Path) -> None:
    sets: dict[str, list[Record]] = {}
    for name, side in (("a", 20), ("b", 30)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
        sets[name] = [Record(key="coco/1", pictures=(PictureRef(str(tmp_path / f"{name}.png")),))]
    proposer = Sides()
    for _ in range(2):
        for name, side in (("a", 20), ("b", 30)):
            made = ProposedRecords(sets[name], proposer, tmp_path / "kept", name)
            assert made[0].proposals[0].boxes.tolist() == [[0, 0, side, side]]
            assert made[0:1][0].proposals[0].source == "sides"
    assert proposer.asked == 2
