"""A small region of the public H&E slide CMU-1 (OpenSlide test data, CC0), downloaded once and checked."""

from __future__ import annotations

from pathlib import Path

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.io.images import open_image

FILE_NAME = "CMU-1-Small-Region.svs"
URL = f"https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/{FILE_NAME}"
SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"


def open_sample() -> ImageRef:
    """Image of 2967 x 2220 px at 0.499 µm per pixel.

    Raises
    ------
    InputError
        When it cannot be downloaded or is not the file it should be; nothing half-written remains.
    """
    return open_image(fetch(cache_folder()))


def cache_folder() -> Path:
    """Where downloads of this program are kept."""
    import pooch

    return Path(pooch.os_cache("napari-histoseg"))


def fetch(folder: Path) -> Path:
    """The slide's file in ``folder``, downloaded when it is not there yet; errors as in `open_sample`."""
    import pooch

    try:
        found = pooch.retrieve(URL, known_hash=f"sha256:{SHA256}", fname=FILE_NAME, path=folder)
    except ValueError as error:
        raise InputError(
            f"What {URL} sent is not the slide that is expected; try again later, or open another image."
        ) from error
    except OSError as error:
        raise InputError(
            f"The slide CMU-1 could not be downloaded from {URL}; connect to the internet and try again, or put the "
            f"file into '{folder}'."
        ) from error
    return Path(found)
