"""Figures as small functions: shares, average precision, captions, texts; no files, no models."""
