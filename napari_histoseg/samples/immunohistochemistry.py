"""Colon glands from scikit-image: real tissue that comes with a dependency, so it opens offline."""

from __future__ import annotations

from dataclasses import replace

from napari_histoseg.core.image import ImageRef, image_from_array

MPP = 0.5
"""µm per pixel, estimated from the size of the nuclei; the source states none."""


def open_sample() -> ImageRef:
    """Image of 512 x 512 px: glands stained for FHL2 with DAB, nuclei with haematoxylin (no known copyright)."""
    from skimage.data import immunohistochemistry

    ref = image_from_array(immunohistochemistry(), name="colon glands (IHC)", mpp=MPP)
    return replace(ref, notes=(*ref.notes, f"{MPP} µm per pixel was estimated from the size of the nuclei."))
