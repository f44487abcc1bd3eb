"""The keys that correct single cells, as a table; the keys of the classes come from the project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellKey:
    """A key and what it does.

    Parameters
    ----------
    name : str
        What `CellTools.act` calls it: a mode or an act.
    keys : str
        As napari writes them; several with " or " between them.
    text : str
        For tooltips and the sheet of keys.
    is_everywhere : bool
        Whether it also works while another layer is selected.
    """

    name: str
    keys: str
    text: str
    is_everywhere: bool = False

    @property
    def bindings(self) -> tuple[str, ...]:
        return tuple(self.keys.split(" or "))

    @property
    def shown(self) -> str:
        """The first of them, as a person reads it."""
        return self.bindings[0].replace("Control", "Ctrl").replace("-", "+")


MODES = (
    CellKey("select", "Escape", "Choose cells: click one, Shift+click more; drops what was begun"),
    CellKey("points", "Shift-P", "Points: click a nucleus to make a cell of the current class", True),
    CellKey("split", "Shift-X", "Cut: drag a line across cells", True),
    CellKey("split_at", "Shift-D", "Divide: click each part of a cell, then Enter", True),
    CellKey("merge", "Shift-G", "Glue: drag across cells that are one", True),
    CellKey("lasso", "Shift-A", "Lasso: drag around cells to choose them; Shift adds to those chosen", True),
    CellKey(
        "snap",
        "Shift-S",
        "Smart brush: paint over or around a cell; snaps to its edge. Ctrl takes away, [ and ] size",
        True,
    ),
    CellKey("copy", "Shift-C", "Copy class: of the cell under the pointer to each one clicked", True),
)
"""What the mouse does; one at a time."""

ACTS = (
    CellKey("undo", "Control-Z", "Undo the last correction, also after a restart"),
    CellKey("redo", "Control-Shift-Z", "Redo"),
    CellKey("finish", "Enter or Return", "Finish what was begun: divide at the points clicked"),
    CellKey("delete", "Delete or Backspace", "Delete the cells"),
    CellKey("verify", "A", "Right as they are: verify the cells"),
    CellKey("next", "Shift-F", "Forward to the next doubtful cell", True),
    CellKey("previous", "Shift-R", "Return to the doubtful cell before", True),
    CellKey("join", "Shift-W", "Make one cell of those chosen"),
    CellKey("shrink", "8", "Shrink the cells by 0.25 µm"),
    CellKey("grow", "9", "Grow the cells by 0.25 µm; they never run over each other"),
    CellKey("smooth", "Shift-O", "Smooth the outlines"),
    CellKey("fill_holes", "Shift-H", "Fill holes"),
    CellKey("repaint", "Shift-M", "Outline the cells anew by the model in use"),
    CellKey("outlines", "Shift-T", "Outlines only, or filled", True),
    CellKey("edits", "D", "Show or hide the marks of edited pixels"),
)
"""What is done at once, to the cells chosen, else to the one under the pointer."""

KEYS = {key.name: key for key in (*MODES, *ACTS)}
