"""Benchmarks: a task, what a model says of it, figures with intervals beside floors and published ones."""
