"""No boxes at all: for questions about the whole picture."""

import numpy as np
from PIL import Image

from fo1.results import Proposals


class NoneProposer:
    """Proposes nothing, so that the model sees the picture alone."""

    name = "none"

    def propose(self, image: Image.Image) -> Proposals:
        """Return no boxes."""
        return Proposals(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), self.name)
