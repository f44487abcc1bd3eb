"""Placing the panels: tabs on the right, the legend below them."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabBar, QTabWidget

_SHARES = (3, 1)


def arrange(docks: Mapping[str, QDockWidget], below: str, raised: str) -> None:
    """Lay docks as tabs over each other, except ``below``, which goes under them; those that lie so already stay.

    Parameters
    ----------
    docks : mapping of title to QDockWidget
        All in the same main window, first tab first.
    below : str
        Title of the one under the tabs.
    raised : str
        Title of the tab on top.
    """
    window = docks[below].parent()
    if not isinstance(window, QMainWindow):
        return
    window.setTabPosition(Qt.DockWidgetArea.RightDockWidgetArea, QTabWidget.TabPosition.North)
    tabs = [dock for title, dock in docks.items() if title != below]
    joined = window.tabifiedDockWidgets(tabs[0])
    if not joined:
        window.splitDockWidget(tabs[0], docks[below], Qt.Orientation.Vertical)
    for dock in tabs[1:]:
        if dock not in joined:
            window.tabifyDockWidget(tabs[0], dock)
    for title, dock in docks.items():
        dock.setWindowTitle(title)
        dock.show()
    for bar in window.findChildren(QTabBar):
        bar.setDrawBase(False)
        bar.setElideMode(Qt.TextElideMode.ElideNone)
        bar.setUsesScrollButtons(True)
    window.resizeDocks([tabs[0], docks[below]], [share * 100 for share in _SHARES], Qt.Orientation.Vertical)
    raise_tab(docks[raised])


def raise_tab(dock: QDockWidget) -> None:
    """Bring a dock to the front of its tabs."""
    dock.show()
    dock.raise_()
