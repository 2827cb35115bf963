"""Training of region models: stages as values and one small loop."""

from fo1.training.stages import Stage, apply_stage
from fo1.training.trainer import Trainer

__all__ = ["Stage", "Trainer", "apply_stage"]
