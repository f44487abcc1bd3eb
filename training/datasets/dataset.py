"""What is declared of a public data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.datasets.source import Source, open_source
from training.writing import SetWriter, write_set


@dataclass(frozen=True)
class DataSet:
    """One public set.

    Parameters
    ----------
    name : str
        For commands, and the folder of its prepared form.
    title, licence, source : str
        What it is, how it may be used, where to get it.
    layout : str
        What must be in the folder or archive.
    may_ship : bool
        Whether weights trained on it may be given away with the package.
    convert : callable
        Reads the download and adds its images to the prepared set.
    archives : tuple of str
        Names of archives that are read without unpacking.
    """

    name: str
    title: str
    licence: str
    source: str
    layout: str
    may_ship: bool
    convert: Callable[[Source, SetWriter], None]
    archives: tuple[str, ...] = ()

    def prepare(self, src: Path, dst: Path, *, count: Callable[[int], None] | None = None) -> int:
        """Decode the download at ``src`` into the prepared set ``dst``; returns the number of images.

        Parameters
        ----------
        src, dst : Path
        count : callable, optional
            Receives the number of images so far, after each.

        Raises
        ------
        InputError
            When something is missing or wrong; ``dst`` is then as before.
        """
        help_text = f"'{self.name}' needs {self.layout}; get it from {self.source}"
        with open_source(src, self.archives, help_text) as source, write_set(dst, count) as writer:
            self.convert(source, writer)
        return len(writer.items)
