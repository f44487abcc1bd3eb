"""Buttons for what the mouse does to cells and for what is done at once, each with its key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QSizePolicy, QWidget

from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

_COLUMNS = 3
_MODES = (
    ("select", "Choose"),
    ("points", "Points"),
    ("snap", "Outline"),
    ("split", "Cut"),
    ("split_at", "Divide"),
    ("merge", "Glue"),
    ("lasso", "Lasso"),
    ("copy", "Copy"),
)
_ACTS = (
    ("verify", "Is right"),
    ("delete", "Delete"),
    ("undo", "Undo"),
    ("redo", "Redo"),
)
_WITHOUT_CELLS = ("points", "snap", "undo", "redo")
"""What makes sense before there is any cell."""

_SIGNS = (("Ctrl+Shift+", "Ctrl⇧"), ("Shift+", "⇧"), ("Escape", "Esc"), ("Delete", "Del"))


class CellToolsBox(QWidget):
    """A grid of buttons; what is done at once goes to the cells chosen, else to the one under the pointer."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._buttons: dict[str, QPushButton] = {}
        self._texts: dict[str, str] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        group = QButtonGroup(self)
        for place, (name, title) in enumerate((*_MODES, *_ACTS)):
            is_mode = place < len(_MODES)
            act = self._on_mode_clicked if is_mode else self._on_act_clicked
            button = self._button(name, title, partial(act, name))
            button.setCheckable(is_mode)
            if is_mode:
                group.addButton(button)
            grid.addWidget(button, place // _COLUMNS, place % _COLUMNS)

    def refresh(self, *, is_ready: bool, can_undo: bool, can_redo: bool) -> None:
        """Show the tool in the hand and what can be done.

        Parameters
        ----------
        is_ready : bool
            Whether an image is open.
        can_undo, can_redo : bool
        """
        cells = self._view.cells
        if cells.mode in self._buttons:
            self._buttons[cells.mode].setChecked(True)
        needed = {"undo": (can_undo, "nothing was done yet."), "redo": (can_redo, "nothing was undone.")}
        for name, button in self._buttons.items():
            reason = "" if is_ready else "open an image first."
            if is_ready and not cells.has_cells and name not in _WITHOUT_CELLS:
                reason = "there is no cell yet; place points or segment nuclei first."
            if is_ready and not needed.get(name, (True, ""))[0]:
                reason = needed[name][1]
            allow(button, self._texts[name], reason)

    def _button(self, name: str, title: str, act: Callable[[], None]) -> QPushButton:
        key, told = self._view.cells.key_of(name), dict(self._view.cells.shortcuts())
        button = self._buttons[name] = QPushButton(f"{title} {_short(key)}")
        self._texts[name] = f"{told.get(key, title)} (key {key})"
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.clicked.connect(lambda _=False: act())
        return button

    def _on_mode_clicked(self, name: str) -> None:
        self._view.cells.set_mode(name)

    def _on_act_clicked(self, name: str) -> None:
        self._view.cells.act(name)


def _short(key: str) -> str:
    """A key in as few signs as a button has room for."""
    first = key.split(" or ")[0]
    for word, sign in _SIGNS:
        first = first.replace(word, sign)
    return first
