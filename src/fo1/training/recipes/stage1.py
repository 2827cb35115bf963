"""Stage 1 on any host: the frozen host gets region tokens and learns to read them."""

from fo1.data.sampling import Sampling
from fo1.training.recipe import Recipe
from fo1.training.stages import alignment


def stage1() -> Recipe:
    """Return the recipe that gives region tokens to a host of any known family; only the model's name changes.

    Nothing of the host moves. What the frozen auxiliary encoder sees of a picture's boxes is computed once.
    """
    return Recipe(
        name="stage1",
        about="region tokens for a host VLM of any family, which stays frozen (give --model)",
        model="Qwen/Qwen2.5-VL-3B-Instruct",
        stages=(alignment(steps=1000, batch=16),),
        sampling=Sampling(variants=2),
        micro_batch=1,
        bf16=True,
        gradient_checkpointing=True,
        cache=True,
        proposer="nanodet+ssd",
    )
