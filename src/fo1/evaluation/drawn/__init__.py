"""Drawn scenes: what is asked of them, how answers are judged, their floors."""
