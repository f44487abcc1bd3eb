"""The frame that all panels share: scrollable, with the obvious next step on top."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QFrame, QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.widgets.parts.view import View

Connections = list[tuple[SignalInstance, Callable[..., Any]]]

_WIDTH_PX = 352


class Panel(QScrollArea):
    """A column of controls that scrolls when the window is low.

    Parameters
    ----------
    view : View
        Told the sentence when a command fails.
    """

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._connections: Connections = []
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        body = QWidget()
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(8, 6, 8, 6)
        self.column.setSpacing(6)
        self.next_step = text_label()
        self.column.addWidget(self.next_step)
        self.setWidget(body)
        self.destroyed.connect(partial(_disconnect, self._connections))

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(_WIDTH_PX, 360)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(_WIDTH_PX, 120)

    def listen(self, signal: SignalInstance, slot: Callable[..., Any]) -> None:
        """Call ``slot`` for as long as this panel lives."""
        signal.connect(slot)
        self._connections.append((signal, slot))

    def close_panel(self) -> None:
        """Stop hearing signals, and every timer."""
        _disconnect(self._connections)
        for timer in self.findChildren(QTimer):
            timer.stop()

    def suggest(self, sentence: str) -> None:
        """Say what to do next."""
        self.next_step.setText(f"<b>Next:</b> {sentence}")

    def telling(self) -> AbstractContextManager[None]:
        """Show what goes wrong inside as a sentence instead of an exception."""
        return telling(self._view)


@contextlib.contextmanager
def telling(view: View) -> Iterator[None]:
    """Show what goes wrong inside as a sentence instead of an exception."""
    try:
        yield
    except HistosegError as error:
        view.say("error", str(error))


def text_label(text: str = "") -> QLabel:
    """A label that wraps instead of widening its panel."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def _disconnect(connections: Connections, *_: Any) -> None:
    for signal, slot in connections:
        signal.disconnect(slot, missing_ok=True)
    connections.clear()
