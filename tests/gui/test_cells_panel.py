"""The Cells panel, driven as a person drives it."""

from __future__ import annotations

from typing import Any


def test_cells_is_a_tab_between_correct_and_retrain(bench: Any) -> None:
    from napari_histoseg import plugin

    assert plugin.TABS[1:4] == ("Correct", "Cells", "Retrain")
    bench.open_panels("Cells")
    panel = bench.viewer.window.dock_widgets["Cells (napari-histoseg)"]
    assert panel.isVisible()
    assert "open an image" in panel.next_step.text()
