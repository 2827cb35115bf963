"""Measures a model: figures with intervals, on drawn scenes and on annotated photographs."""
