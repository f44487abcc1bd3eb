"""Segment, correct and retrain on histology images in napari."""

__version__ = "0.1.0"
