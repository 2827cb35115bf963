"""Training data: pictures, scenes, language about them, samples and batches."""
