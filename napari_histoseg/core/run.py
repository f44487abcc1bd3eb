"""Runs of models, as the journal keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from napari_histoseg.core.box import Box


@dataclass(frozen=True)
class Run:
    """One run of a model on an image, kept for the record.

    Parameters
    ----------
    id : int
    image_id, model : str
    revision : str or None
        Revision or name of the weights.
    box : Box
        What was asked for, in pixels of the image.
    started_at : float
        Unix time in seconds.
    ended_at : float or None
    state : str
        "running", "done", "cancelled", "failed", or "interrupted" when the program died meanwhile.
    """

    id: int
    image_id: str
    model: str
    revision: str | None
    box: Box
    started_at: float
    ended_at: float | None
    state: str
