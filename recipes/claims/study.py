"""The trainings of the claims: each a value, done once, whichever claims read it.

OUT/hosts/qwen2_5_vl-noto/   a host's own training in the round that holds noto out
OUT/runs/.../                a training; its figures are what is kept of most
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from arms import Arm, ArmCollator, Draw, Tables, Turns
from hosts import Copying, build_model, build_processor
from measures import Asker, lists, naming
from scenes import LINEAGES, REGION_WIDTH, of_round, vocabulary

from fo1.formats.beside import write_beside
from fo1.models import FO1ForConditionalGeneration
from fo1.training.recipe import Recipe
from fo1.training.run import Run, learned_model, run
from fo1.training.stages import Stage

BATCH = 8
HOST_STEPS, HOST_RATE = 1000, 2e-3
HOST_PARTS = ("language_model", "vision", "pointer")
STEPS = 200
AMOUNTS = (75, 300, 1200)
"""Scenes that an arm learns from, all lineages of a round together."""
MIDDLE = AMOUNTS[1]
RATES = (1e-3, 2e-3)
"""Tried for every arm, in one round, on other scenes of the lineages that are trained on."""
TUNED_IN = "twemoji"
ENDED = "ended"

Plan = Literal["together", "two stages", "stage 1"]

ARMS: dict[str, Arm] = {
    "digits": Arm("digits"),
    "bins": Arm("bins"),
    "digits, auxiliary": Arm("digits", "auxiliary"),
    "bins, auxiliary": Arm("bins", "auxiliary"),
    "digits, proposals": Arm("digits", "proposals"),
    "bins, proposals": Arm("bins", "proposals"),
    "regions": Arm("regions"),
    "regions without pointer": Arm("regions", pointer=False),
    "auxiliary only": Arm("regions", regions={"use_host": False}, axes=REGION_WIDTH),
    "host only": Arm("regions", regions={"use_auxiliary": False, "pyramid_width": 50}, axes=0),
    "no pyramid": Arm("regions", regions={"use_pyramid": False}),
    "no box embedding": Arm("regions", regions={"box_embedding": False}),
    "2 bins": Arm("regions", regions={"output_size": 2}),
    "14 bins": Arm("regions", regions={"output_size": 14}),
    "wide pyramid, concat": Arm("regions", regions={"pyramid_width": 128}),
    "wide pyramid, mean": Arm("regions", regions={"pyramid_width": 128, "combination": "mean"}),
    "silence": Arm("regions", absent="silence"),
    "no negatives": Arm("regions", absent="unasked"),
}


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        arm: of `ARMS`.
        held_out: lineage.
        amount: scenes.
        rate: peak learning rate of all that learns.
        plan: what learns when.
        family: of the host, by its name in `HOSTS`.
        host: whether the host was trained before.
    """

    arm: str
    held_out: str
    amount: int = MIDDLE
    rate: float = RATES[0]
    plan: Plan = "together"
    family: str = "qwen2_5_vl"
    host: Literal["trained", "random"] = "trained"

    @property
    def claims_host(self) -> bool:
        """Whether it is measured what is left of the host's own boxes."""
        return self.arm == "regions" and self.amount == MIDDLE and self.plan != "stage 1"

    @property
    def is_kept(self) -> bool:
        """Whether the trained model is asked again, with other boxes."""
        return self.arm == "regions" and self.amount == AMOUNTS[-1] and self.plan == "together"

    @property
    def name(self) -> str:
        """Folder and file of it."""
        return "_".join(
            f"{value}".replace(" ", "-").replace(",", "") for value in asdict(self).values()
        )


@dataclass(frozen=True, eq=False)
class Study:
    """Where trainings are and what they share.

    Args:
        out: folder of everything.
    """

    out: Path

    @cached_property
    def names(self) -> list[str]:
        """All names."""
        return vocabulary()

    def train_host(self, family: str, held_out: str) -> None:
        """Train a host; what was trained before is not trained again."""
        run(self.host_run(family, held_out))
        (self._host_folder(family, held_out) / ENDED).touch()

    def has_host(self, training: Training) -> bool:
        """Whether a training's host is trained."""
        return (self._host_folder(training.family, training.held_out) / ENDED).exists()

    def _host_folder(self, family: str, held_out: str) -> Path:
        return self.out / "hosts" / f"{family}-{held_out}"

    def host_run(self, family: str, held_out: str) -> Run:
        """Return the host's own training: boxes in coordinates, of both kinds, names of boxes, tables of words."""
        processor, seed = build_processor(family), LINEAGES.index(held_out)
        shown = of_round("base", held_out, self.out)
        seen = [Draw(ARMS[name], shown, self.names, seed) for name in ("digits", "bins")]
        read = [Tables(name, self.names, seed) for name in ("regions", "digits", "bins")]
        draws = [*seen, read[0], *seen, read[0], read[1], read[0], read[2], read[0]]
        return Run(
            recipe=Recipe(
                name=f"host {family}",
                stages=(_stage("host", HOST_STEPS, HOST_RATE, HOST_PARTS),),
                micro_batch=BATCH,
                save_every=200,
                keep=1,
                seed=seed,
            ),
            load=lambda: build_model(family, processor, {}, 0, True, seed),
            processor=processor,
            draw=lambda _: Turns(draws),
            collator=ArmCollator(processor),
            out=self._host_folder(family, held_out),
            make_objective=lambda model, _: Copying(model, processor),
        )

    def run_of(self, training: Training) -> Run:
        """Return a training as a run."""
        arm, seed = ARMS[training.arm], LINEAGES.index(training.held_out)
        processor = build_processor(training.family)
        shown = of_round("train", training.held_out, self.out)[: training.amount]
        draw = Draw(arm, shown, self.names, 100 + seed)

        def load() -> FO1ForConditionalGeneration:
            pointer = arm.by_region and arm.pointer
            model = build_model(training.family, processor, arm.regions, arm.axes, pointer, seed)
            if training.host == "trained":
                host = learned_model(self.host_run(training.family, training.held_out))
                model.vlm.load_state_dict(host.vlm.state_dict())
                if model.pointer is not None:
                    model.pointer.load_state_dict(host.pointer.state_dict())
            return model

        return Run(
            recipe=Recipe(
                name=training.name,
                stages=_stages(training),
                micro_batch=BATCH,
                save_every=STEPS,
                keep=1,
                seed=seed,
            ),
            load=load,
            processor=processor,
            draw=lambda _: draw,
            collator=ArmCollator(processor),
            out=self.out / "runs" / training.name,
        )

    def asker(
        self, training: Training, model: Any, source: Any = "proposals", part: str = "test"
    ) -> Asker:
        """Return the model of a training, ready to be asked about scenes of a part."""
        shown = of_round(part, training.held_out, self.out)
        processor = build_processor(training.family)
        return Asker(model, processor, ARMS[training.arm], shown, self.names, source)

    def figures(self, training: Training) -> dict[str, Any]:
        """Return the figures of a training, which is made if there are none."""
        file = self.file(training)
        if not file.exists():
            given = self.run_of(training)
            begun = time.monotonic()
            model = run(given)
            found: dict[str, Any] = {
                "training": asdict(training),
                "parameters": _parameters(model),
                "seconds": round(time.monotonic() - begun),
                "loss": _last_losses(given.out / "log.jsonl"),
                "naming": naming(self.asker(training, model, "true")),
                **self._measured(training, model),
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            write_beside(file, json.dumps(found) + "\n")
            if not training.is_kept:
                shutil.rmtree(given.out)
        return json.loads(file.read_text(encoding="utf-8"))

    def _measured(self, training: Training, model: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"own boxes": lists(self.asker(training, model))}
        if ARMS[training.arm].by_region:
            found["true boxes"] = lists(self.asker(training, model, "true"))
        if training.held_out == TUNED_IN:
            found["check"] = lists(self.asker(training, model, part="check"))
        if training.claims_host:
            host = replace(training, arm="digits")
            found["host's own boxes"] = lists(self.asker(host, model))
        return found

    def found(self, training: Training) -> dict[str, Any] | None:
        """Return the figures of a training, None if there are none."""
        file = self.file(training)
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def file(self, training: Training) -> Path:
        """Return the file of a training's figures."""
        return self.out / "figures" / f"{training.name}.json"


def _stages(training: Training) -> tuple[Stage, ...]:
    arm = ARMS[training.arm]
    connecting = ("regions", "pointer") if arm.by_region or arm.beside == "auxiliary" else ()
    everything = ("language_model", *connecting)
    if training.plan == "together":
        return (_stage("together", STEPS, training.rate, everything),)
    align = (*connecting, "new_tokens")
    if training.plan == "stage 1":
        return (_stage("alignment", STEPS, training.rate, align),)
    half = STEPS // 2
    return (
        _stage("alignment", half, training.rate, align),
        _stage("perception", STEPS - half, training.rate, everything),
    )


def _stage(name: str, steps: int, rate: float, groups: tuple[str, ...]) -> Stage:
    return Stage(
        name=name, learns=dict.fromkeys(groups, rate), steps=steps, batch=BATCH, warmup=0.1
    )


def _last_losses(log: Path) -> float:
    """Return the mean loss of the last steps."""
    rows = [json.loads(line)["loss"] for line in log.read_text(encoding="utf-8").splitlines()]
    return sum(rows[-20:]) / len(rows[-20:])


def _parameters(model: torch.nn.Module) -> dict[str, int]:
    """Return parameters by part."""
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    return parts
