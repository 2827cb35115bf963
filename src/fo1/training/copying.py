"""Copying: what a language model can learn of pointing before it sees a picture.

A region's embedding is the word for what it shows. Lists about such regions teach to match and to copy; that the
embeddings of pictures' regions come to look like words is learned behind that, in much fewer steps (docs/log.md).
"""

from typing import Any

import torch

from fo1.data.collator import Batch
from fo1.models.encoding import RegionEmbeddings
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor

NOTHING = "nothing"
"""What a region that shows no named thing stands for."""
BLUR = 0.3
"""Of a copied word, in units of the words' own spread."""


def spoken_regions(
    model: FO1ForConditionalGeneration, processor: FO1Processor, batch: Batch
) -> RegionEmbeddings | None:
    """Return the regions of a batch as the mean word of their first names, blurred; None where it has no regions.

    Args:
        model: whose words they are.
        processor: of that model.
        batch: with the names of its regions; what blurs them depends on its tokens alone.
    """
    names = [own[0] if own else NOTHING for scene in batch.names for own in scene]
    if not names:
        return None
    table: Any = model.get_input_embeddings()
    words = torch.stack([table(torch.tensor(processor.token_ids(n))).mean(0) for n in names])
    noise = torch.Generator().manual_seed(int(batch.packed.ids.sum()))
    blur = BLUR * words.detach().std() * torch.randn(words.shape, generator=noise)
    return RegionEmbeddings(words, words + blur, ())
