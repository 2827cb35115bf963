"""Figures as small functions on plain values, and what some of them ask: a judge, a model, Java."""
