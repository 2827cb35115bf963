"""Recipes for GPUs. No GPU was at hand where they were written: untested beyond tiny hosts, see docs/training.md."""

from fo1.data.sampling import Sampling
from fo1.training.recipe import Recipe
from fo1.training.stages import Adapter, alignment, perception


def lora_1gpu() -> Recipe:
    """Return a recipe that adapts a 3B host on one GPU: its language model learns through LoRA."""
    adapter = Adapter(rank=32, alpha=64, dropout=0.05)
    return Recipe(
        name="lora_1gpu",
        about="a 3B model on one GPU: LoRA in the language model (give --model)",
        model="omlab/VLM-FO1_Qwen2.5-VL-3B-v01",
        stages=(
            alignment(steps=500, batch=16),
            perception(steps=2000, batch=16, adapter=adapter),
        ),
        sampling=Sampling(),
        micro_batch=1,
        pack_to=4096,
        bf16=True,
        gradient_checkpointing=True,
        workers=4,
    )


def qwen2_5_vl_3b_8gpu() -> Recipe:
    """Return the paper's setting as far as it is known; what is not known is ours and marked.

    Known (arXiv 2509.25916): the host and its size, DaViT-Large as auxiliary encoder, at most 100 regions, two stages
    and what learns in each, general data in the second. Unknown: rates, steps, batches, mixture, box sampling.
    """
    return Recipe(
        name="qwen2_5_vl_3b_8gpu",
        about="the paper's two stages on 8 GPUs (torchrun; give --model)",
        model="Qwen2.5-VL-3B-with-regions",
        stages=(
            alignment(steps=10_000, batch=128, rate=1e-3),  # unknown: steps, batch, rate
            perception(steps=20_000, batch=128, rate=2e-5),  # unknown: steps, batch, rate
        ),
        sampling=Sampling(most_regions=100),
        micro_batch=2,
        pack_to=8192,
        bf16=True,
        gradient_checkpointing=True,
        sharded=True,
        save_every=500,
        workers=8,
    )
