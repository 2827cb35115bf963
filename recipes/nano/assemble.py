"""Puts the packaged model together from a training checkpoint: weights, processor, SSD and the list of names.

python recipes/nano/assemble.py --checkpoint run/checkpoint.pt --tokenizer DIR --weights DIR --out src/fo1/assets/nano
"""

import argparse
import shutil
from pathlib import Path

import torch
from train import SOURCES, build_config, build_processor
from transformers import AutoTokenizer, GenerationConfig

from fo1.data.pictures import PicturePack
from fo1.data.solids import SOLIDS
from fo1.lexicon import Lexicon
from fo1.models import FO1ForConditionalGeneration, FO1Processor


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
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    model = FO1ForConditionalGeneration(build_config(tokenizer)).eval()
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    args.out.mkdir(parents=True, exist_ok=True)
    export(model, build_processor(tokenizer), args.out)
    shutil.copyfile(args.weights / "ssd.safetensors", args.out / "ssd.safetensors")
    (args.out / "vocabulary.txt").write_text("\n".join(names()) + "\n", encoding="utf-8")
    size = sum(f.stat().st_size for f in args.out.glob("*.safetensors")) / 1e6
    print(f"step {state['step']}: {size:.1f} MB of weights in {args.out}")


if __name__ == "__main__":
    main()
