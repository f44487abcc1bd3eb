"""Keys pressed in a list or table: letters of classes, Enter, Delete."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QWidget

_NAMES = {
    Qt.Key.Key_Return: "enter",
    Qt.Key.Key_Enter: "enter",
    Qt.Key.Key_Delete: "delete",
    Qt.Key.Key_Backspace: "delete",
}


class ListKeys(QObject):
    """Hands keys that are pressed in a widget to a function first.

    Parameters
    ----------
    owner : QWidget
    act : callable
        Given "enter", "delete" or a lower-case letter; True when it did something with it.
    """

    def __init__(self, owner: QWidget, act: Callable[[str], bool]) -> None:
        super().__init__(owner)
        self._act = act
        owner.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and not _is_held(event):
            name = _NAMES.get(Qt.Key(event.key()), event.text().lower())
            if name and self._act(name):
                return True
        return bool(super().eventFilter(watched, event))


def _is_held(event: QKeyEvent) -> bool:
    held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    return bool(held != Qt.KeyboardModifier.NoModifier)
