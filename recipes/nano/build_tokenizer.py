"""Trains the byte-level BPE tokenizer of `nano` on names and question templates.

python recipes/nano/build_tokenizer.py --out DIR
"""

import argparse
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fo1 import layout, prompts, tags
from fo1.data.pictures import COLOUR_WORDS, PicturePack
from fo1.lexicon import Lexicon
from fo1.models.published.reading import add_region_placeholder

VOCABULARY = 4096
REGIONS = 100
SPECIAL = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
MARKUP = (
    "<ground>",
    "</ground>",
    "<objects>",
    "</objects>",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
)
# Source: the pattern by which Qwen2's tokenizer splits text before merging.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(pack: PicturePack, lexicon: Lexicon) -> list[str]:
    """Return lines of text; frequent names come more often so that they stay whole."""
    lines: list[str] = []
    for concept in pack.concepts.values():
        lines += [f"{text} the {text} a {text}s" for text in concept.names for _ in range(6)]
    for source, weight in (("imagenet", 3), ("coco", 12)):
        for terms in lexicon.terms(source):
            for place, term in enumerate(terms):
                lines += [f"{term} the {term} a {term}s"] * max(1, weight - place)
    words = "leftmost rightmost largest smallest top bottom left right middle second third from above below between"
    words += " near far biggest upper lower corner there are is no none yes nothing one two three four five six seven"
    words += " eight nine ten how many which what colour color objects picture shows with and of in on the a an it"
    lines += [f" {word} {word}" for word in words.split() for _ in range(40)]
    lines += [f" {word} the {word} {word}" for word in COLOUR_WORDS for _ in range(60)]
    questions = [
        prompts.detect(["cat"]),
        prompts.count("cats"),
        prompts.describe([0]),
        prompts.describe([0], "detailed"),
        prompts.read([0]),
        prompts.ground(),
        prompts.similar(0),
        layout.SYSTEM_TEXT,
        "system user assistant\n",
    ]
    return lines + questions * 60


def build(pack: PicturePack, lexicon: Lexicon) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    reserved = len(SPECIAL) + len(MARKUP) + REGIONS + 1
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - reserved,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(pack, lexicon), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens(list(SPECIAL), special_tokens=True)
    # Answers are read from these, so they are ordinary tokens that decoding keeps.
    fast.add_tokens([*MARKUP, *(tags.region_token(i) for i in range(REGIONS))])
    add_region_placeholder(fast)
    return fast


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = build(PicturePack.open(), Lexicon.load())
    tokenizer.save_pretrained(args.out)
    print(f"{len(tokenizer)} tokens in {args.out}")
