"""Puts the packaged model together from a run: weights, processor, SSD and the list of names.

python recipes/nano/assemble.py --tokenizer DIR --cache DIR --out RUN --export src/fo1/assets/nano
"""

import argparse
import shutil
from pathlib import Path

import torch
from train import SOURCES, add_arguments, make_run
from transformers import GenerationConfig

from fo1.data.pictures import PicturePack
from fo1.data.solids import SOLIDS
from fo1.lexicon import Lexicon
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.pipeline.loading import packaged_folder
from fo1.training.run import learned_model


def names() -> list[str]:
    """Return the names that `describe` chooses from: one per thing drawn in training and per class of the encoders."""
    lexicon = Lexicon.load()
    drawn = [
        c.name for c in (*PicturePack.open().concepts.values(), *SOLIDS.values()) if not c.held_out
    ]
    known = [name for source in SOURCES for name in lexicon.names(source)]
    return sorted({name.lower() for name in (*drawn, *known)})


def export(model: FO1ForConditionalGeneration, processor: FO1Processor, folder: Path) -> None:
    """Write model and processor; weights in half precision, loaded as float32."""
    model.generation_config = GenerationConfig(
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
        max_new_tokens=256,
        do_sample=False,
    )
    half = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    half.pop("vlm.lm_head.weight", None)
    model.config.dtype = torch.float32
    model.save_pretrained(folder, state_dict=half)
    processor.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--export", type=Path, required=True, help="folder of the model")
    args = parser.parse_args()
    given = make_run(args)
    model = learned_model(given)
    args.export.mkdir(parents=True, exist_ok=True)
    export(model, given.processor, args.export)
    shutil.copyfile(
        (args.weights or packaged_folder()) / "ssd.safetensors", args.export / "ssd.safetensors"
    )
    (args.export / "vocabulary.txt").write_text("\n".join(names()) + "\n", encoding="utf-8")
    size = sum(f.stat().st_size for f in args.export.glob("*.safetensors")) / 1e6
    print(f"{size:.1f} MB of weights in {args.export}")


if __name__ == "__main__":
    main()
