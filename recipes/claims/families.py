"""Stage 1 on hosts of several families, by one recipe with one argument changed.

    python recipes/claims/families.py --out OUT                     all
    python recipes/claims/families.py --out OUT --family llava      one
    python recipes/claims/families.py --out OUT --deepstack         deep features for region tokens, or nothing

A host is trained first, as briefly as it has to be to know anything: to say what a picture shows, at all and where, and
to look up, list and copy regions that look like words, without pictures. Then it is frozen and stage 1 begins. What is
learned is measured on a drawing lineage that neither saw, and against regions that are exchanged within their picture.
What is there already is not made again, so a stopped run goes on.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import Arm, ArmCollator, Draw, Tables, Turns, choose, show
from deepstack import reach_regions
from hosts import HOSTS, Copying, build_model, build_processor
from measures import Asker, lists, naming
from scenes import Seen, of_round, vocabulary
from study import ARMS, BATCH, HOST_PARTS
from tables import Mean

from fo1.data.sample import Dialogue, Sample
from fo1.formats.beside import write_beside
from fo1.formats.markdown import table
from fo1.models import FO1ForConditionalGeneration
from fo1.models.encoding import RegionEmbeddings
from fo1.tags import NONE_TEXT
from fo1.training.recipe import Recipe
from fo1.training.run import LOG, Run, learned_model, run
from fo1.training.stages import Stage, alignment

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "llava")
HELD_OUT = "twemoji"
HOST_STEPS, HOST_RATE = 400, 2e-3
STEPS, RATE = 150, 2e-3
TEST = 40
"""Scenes that are asked about."""
SEEDS = range(5)
"""Of pairs with and without deep features."""
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
PLACES = 3
"""Places of a picture that are asked about, besides all of it."""


@dataclass(frozen=True, eq=False)
class Captions:
    """Draws questions about what a picture shows, at all and in some of nine places.

    Args:
        scenes: that are shown.
        seed: of what is drawn.
    """

    scenes: Sequence[Seen]
    seed: int

    def __call__(self, index: int) -> Sample:
        """Return sample `index`."""
        rng = np.random.default_rng([self.seed, index])
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        middles = (scene.objects[:, :2] + scene.objects[:, 2:]) / 2
        columns, rows = (3 * middles).astype(int).clip(0, 2).T
        asked = {"all": scene.names}
        for place in rng.permutation(9)[:PLACES].tolist():
            there = (rows == place // 3) & (columns == place % 3)
            names = [name for name, own in zip(scene.names, there, strict=True) if own]
            asked[f"{ROWS[place // 3]} {COLUMNS[place % 3]}"] = tuple(names)
        arm = Arm("regions")
        shown = show(arm, scene, *choose(scene, "true", (0, 0))).sample
        return replace(
            shown,
            boxes=(np.zeros((0, 4), np.float32),),
            features=torch.zeros(0, 0),
            dialogues=tuple(
                Dialogue(((place, ", ".join(sorted(set(names))) or NONE_TEXT),), "caption")
                for place, names in asked.items()
            ),
        )


@dataclass(frozen=True)
class Trial:
    """Stage 1 on one host.

    Attributes:
        family: of the host.
        arm: of `ARMS`, what regions are made of.
        deep: whether DeepStack reaches region tokens as well.
        seed: of new weights and of samples.
    """

    family: str
    arm: str = "regions"
    deep: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """Folder and file of it."""
        kind = "-deep" if self.deep else ""
        return f"{self.family}-{self.arm.replace(' ', '-')}{kind}-{self.seed}"


def host_run(family: str, out: Path) -> Run:
    """Return the host's own training; it never sees a region of a picture."""
    processor, seen = build_processor(family), of_round("base", HELD_OUT, out)
    stage = Stage(
        name="host",
        learns=dict.fromkeys(HOST_PARTS, HOST_RATE),
        steps=HOST_STEPS,
        batch=BATCH,
        warmup=0.1,
    )
    return Run(
        recipe=Recipe(
            name=f"host {family}", stages=(stage,), micro_batch=BATCH, save_every=100, keep=1
        ),
        load=lambda: build_model(family, processor, {}, 0, True, 0),
        processor=processor,
        draw=lambda _: Turns([Captions(seen, 0), Tables("regions", vocabulary(), 0)]),
        collator=ArmCollator(processor),
        out=out / "families" / f"host-{family}",
        make_objective=lambda model, _: Copying(model, processor),
    )


def stage1_run(trial: Trial, out: Path) -> Run:
    """Return stage 1: the host is frozen, region encoder, pointer and new tokens learn."""
    arm, processor = ARMS[trial.arm], build_processor(trial.family)
    seen = of_round("train", HELD_OUT, out)

    def load() -> FO1ForConditionalGeneration:
        model = build_model(trial.family, processor, arm.regions, arm.axes, True, trial.seed)
        host = learned_model(host_run(trial.family, out))
        model.vlm.load_state_dict(host.vlm.state_dict())
        model.pointer.load_state_dict(host.pointer.state_dict())
        if trial.deep:
            reach_regions(model)
        return model

    return Run(
        recipe=Recipe(
            name=trial.name,
            stages=(alignment(STEPS, BATCH, RATE, warmup=0.1),),
            micro_batch=BATCH,
            save_every=STEPS,
            keep=1,
            seed=trial.seed,
        ),
        load=load,
        processor=processor,
        draw=lambda _: Draw(arm, seen, vocabulary(), 100 + trial.seed),
        collator=ArmCollator(processor),
        out=out / "families" / trial.name,
    )


class Exchanged(Asker):
    """Asks a model whose regions are exchanged within their picture: the floor."""

    def _rows(self, chunk: Sequence[Any]) -> dict[str, Any]:
        rows, counts = super()._rows(chunk), {one: len(one.boxes) for one, _ in chunk}
        rng, order, first = np.random.default_rng(9), list[int](), 0
        for count in counts.values():
            order += (first + rng.permutation(count)).tolist()
            first += count
        regions: RegionEmbeddings = rows["regions"]
        return rows | {"regions": regions.select(order)}


def figures(trial: Trial, out: Path) -> dict[str, Any]:
    """Return what a trial gives, which is made if it is not there."""
    file = out / "families" / f"{trial.name}.json"
    if not file.exists():
        given = stage1_run(trial, out)
        model = run(given)
        rows = [
            json.loads(line) for line in (given.out / LOG).read_text(encoding="utf-8").splitlines()
        ]
        losses = [float(row["loss"]) for row in rows]
        found: dict[str, Any] = {
            "loss": [float(np.mean(losses[:10])), float(np.mean(losses[-20:]))]
        }
        shown = of_round("test", HELD_OUT, out)[:TEST]
        for what, kind in (("own", Asker), ("exchanged", Exchanged)):
            asker = kind(model, given.processor, ARMS[trial.arm], shown, vocabulary(), "true")
            found[what] = {"naming": naming(asker), "f1": lists(asker)["f1@0.5"]}
        write_beside(file, json.dumps(found) + "\n")
    return json.loads(file.read_text(encoding="utf-8"))


def report(families: Sequence[str], out: Path) -> str:
    """Return the table."""
    rows = []
    for family in families:
        found = figures(Trial(family), out)
        shares = [
            f"{100 * found[regions][what]:.1f}"
            for what in ("naming", "f1")
            for regions in ("own", "exchanged")
        ]
        rows.append([f"`{family}`", *(f"{loss:.2f}" for loss in found["loss"]), *shares])
    header = ["host", "loss, first 10 steps", "last 20"]
    for what in ("regions named", "F1 of lists"):
        header += [what, "regions exchanged"]
    return table(header, rows)


def report_deepstack(out: Path) -> str:
    """Return what region tokens gain by deep features: pairs that differ in nothing else, for two kinds of regions."""
    rows = []
    for arm in ("regions", "host only"):
        pairs = [
            [figures(Trial("qwen3_vl", arm, deep, seed), out)["own"] for deep in (False, True)]
            for seed in SEEDS
        ]
        for what, label in (("naming", "regions named"), ("f1", "F1 of lists")):
            plain, deep = ([pair[side][what] for pair in pairs] for side in (0, 1))
            gains = [after - before for before, after in zip(plain, deep, strict=True)]
            rows.append([arm, label, *(str(Mean.of(shares)) for shares in (plain, deep, gains))])
    return table(("regions", "figure", "nothing", "deep features", "gain"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", choices=sorted(HOSTS), help="this one alone")
    parser.add_argument("--deepstack", action="store_true", help="compare on qwen3_vl, and stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    families = (args.family,) if args.family else FAMILIES
    for family in ("qwen3_vl",) if args.deepstack else families:
        run(host_run(family, args.out))
    print(report_deepstack(args.out) if args.deepstack else report(families, args.out))


if __name__ == "__main__":
    main()
