"""Images to try the program on: one real and offline, one generated with exact truth, one slide to download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion

if TYPE_CHECKING:
    from napari_histoseg.core.image import ImageRef


@dataclass(frozen=True)
class Sample:
    """One entry of the sample menu.

    Parameters
    ----------
    id : str
    title : str
        Shown in the menu.
    is_offline : bool
        Whether it opens without a network.
    module : str
        Of this package; its ``open_sample()`` gives the image.
    """

    id: str
    title: str
    is_offline: bool
    module: str

    def open(self) -> ImageRef:
        """The image; a sample to download is fetched at the first call.

        Raises
        ------
        InputError
            When it cannot be downloaded, in a sentence that says what to do.
        """
        opener: Callable[[], ImageRef] = import_module(f"{__name__}.{self.module}").open_sample
        return opener()


SAMPLES = (
    Sample("ihc", "Colon glands, DAB and haematoxylin (scikit-image)", True, "immunohistochemistry"),
    Sample("phantom", "Generated H&E-like glands with exact truth", True, "phantom_sample"),
    Sample("cmu1", "H&E slide CMU-1, small region (download, 1.9 MB)", False, "cmu1"),
)


def get_sample(sample_id: str) -> Sample:
    """The sample of that id; ``InputError`` names the nearest when there is none."""
    samples = {sample.id: sample for sample in SAMPLES}
    if sample_id in samples:
        return samples[sample_id]
    raise InputError(f"There is no sample '{sample_id}'; {suggestion(sample_id, samples)}")
