"""Whole checkpoints: converted between the layouts, and verified."""
