"""What detection benchmarks share: truths, the official engines, floors and tables."""
