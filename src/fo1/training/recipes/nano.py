"""`nano` on your own data: minutes to an hour on two CPU cores."""

from fo1.data.sampling import Sampling
from fo1.training.recipe import Recipe
from fo1.training.stages import Stage


def nano() -> Recipe:
    """Return the recipe that teaches the packaged model the things of a data set.

    Its encoders are frozen by design, so what they say of a picture's boxes is computed once. First what turns boxes
    into region tokens and the score head learn the names, then the language model joins.
    """
    rates = dict.fromkeys(("regions", "score_head", "pointer"), 6e-4)
    return Recipe(
        name="nano",
        about="the packaged model on your data: what its frozen encoders see is computed once",
        model="nano",
        stages=(
            Stage(
                name="alignment",
                learns={**rates, "new_tokens": 1e-4},
                steps=250,
                batch=12,
                losses={"lm": 0.3, "score": 0.5},
            ),
            Stage(
                name="perception",
                learns={**rates, "language_model": 2e-4},
                steps=350,
                batch=12,
                losses={"lm": 0.5, "score": 0.5},
            ),
        ),
        sampling=Sampling(variants=2),
        micro_batch=12,
        bf16=True,
        cache=True,
        proposer="nanodet+ssd",
        save_every=50,
    )
