"""Makes what the claims are tried on: the language model's weights, drawn scenes, answers of the untouched model.

    python recipes/forgetting/prepare.py --gguf FILE --out work      needs the package gguf for the first step

A part that exists is kept. Of the answers only whole ones are kept: those cut off would teach to stop anywhere.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from host import answers, load_language_model
from material import PROBE, general_prompts
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from fo1.data import language
from fo1.data.pictures import PicturePack
from fo1.data.scenes import Scene, SceneGenerator
from fo1.data.schema import Exchange, Phrase, PictureRef, Record, TrueObject, check_record
from fo1.data.storage import write_records

CONCEPTS, SCENES, HELD_OUT, MOST_OBJECTS = 24, 60, 12, 6
SEED = 11


def convert(gguf: Path, folder: Path) -> None:
    """Write the weights of a quantised language model as float32, with config and tokenizer."""
    given = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **given)
    folder.mkdir(parents=True)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    del model.config.quantization_config
    model.config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **given).save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def scene_record(scene: Scene, names: list[str], folder: Path) -> Record:
    """Return what is known of a drawn scene, and save its picture."""
    rng = np.random.default_rng([SEED, scene.index])
    file = folder / f"{scene.index:05d}.jpg"
    scene.image.save(file, quality=92)
    objects = tuple(TrueObject(tuple(map(float, o.box)), (o.name,)) for o in scene.objects)
    there = {name for o in scene.objects for name in (*o.names, *o.unsure)}
    absent = [names[int(i)] for i in rng.permutation(len(names)) if names[int(i)] not in there]
    return check_record(
        Record(
            key=f"scene{scene.index}",
            pictures=(PictureRef(str(file), (scene.image.height, scene.image.width)),),
            objects=objects,
            phrases=tuple(
                Phrase(text, (target,)) for text, target in language.referring(scene, rng)
            ),
            absent=tuple(absent[:8]),
            looked_for=tuple(sorted({o.name for o in scene.objects})),
        )
    )


def draw_scenes(folder: Path) -> None:
    """Write records of scenes with few things: the last ones are kept for measuring."""
    pack = PicturePack.open()
    concepts = [slug for slug in sorted(pack.concepts) if slug not in pack.held_out][:CONCEPTS]
    draw = SceneGenerator(pack, concepts=concepts, size=(256, 400), solids=0.0)
    names = sorted(draw.concepts[slug].name for slug in concepts)
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    number = 0
    while len(records) < SCENES + HELD_OUT:
        scene = draw(SEED, number)
        number += 1
        if len(scene.objects) <= MOST_OBJECTS:
            records.append(scene_record(scene, names, folder))
    write_records(records[SCENES:], folder / "held_out.jsonl", pictures="refer")
    write_records(records[:SCENES], folder / "scenes.jsonl", pictures="refer")


def keep_answers(weights: Path, file: Path) -> None:
    """Write what the untouched language model answers to prompts that are not of the probe."""
    prompts = general_prompts()
    asked = {question for question, _ in PROBE}
    if asked & set(prompts):
        raise SystemExit("a prompt of the general data is in the probe; take it out of one of them")
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = load_language_model(weights)
    told = answers(model, tokenizer, prompts, most=96, whole=True)
    records = [
        Record(key=f"general{place}", turns=(Exchange(prompt, answer),))
        for place, (prompt, answer) in enumerate(zip(prompts, told, strict=True))
        if answer
    ]
    write_records(records, file, pictures="refer")
    print(json.dumps({"general": len(records), "first": told[:2]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not (args.out / "lm/model.safetensors").exists():
        convert(args.gguf, args.out / "lm")
    if not (args.out / "scenes/scenes.jsonl").exists():
        draw_scenes(args.out / "scenes")
    if not (args.out / "general.jsonl").exists():
        keep_answers(args.out / "lm", args.out / "general.jsonl")


if __name__ == "__main__":
    main()
