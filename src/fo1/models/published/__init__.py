"""The published on-disk layout, the authors' own: read as it is, and written back."""
