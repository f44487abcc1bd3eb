"""Editing the classes and importing masks in the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QWidget

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.widgets.classes import ClassesPanel
from napari_histoseg.widgets.parts.import_dialog import ImportDialog


@pytest.fixture
def painted(bench: Any, tissue: np.ndarray) -> Any:
    """An image half epithelium, with two cells of it."""
    bench.viewer.add_image(tissue, name="tissue")
    image_id = bench.bridge.images.current
    bench.session.record(image_id, "paint", Box(0, 0, 128, 256), np.full((128, 256), 2, np.uint8))
    cells = np.zeros((256, 256), np.int64)
    cells[10:20, 10:20], cells[40:50, 40:50] = 1, 2
    edit = bench.session.project.replace_cells(image_id, cells, {1: 2, 2: 2}, tool="import", origin=Origin.IMPORT)
    bench.session.tell(edit)
    bench.bridge.show_labels()
    return bench


def legend(bench: Any) -> ClassesPanel:
    return next(panel for panel in bench._panels if isinstance(panel, ClassesPanel))


def test_classes_change_everywhere_at_once(painted: Any) -> None:
    panel, session, bridge = legend(painted), painted.session, painted.bridge
    image_id = bridge.images.current
    dialog = panel.edit_classes()
    dialog.rows[1].name.setText("stroma")
    row = dialog.add_row()
    row.name.setText("mitosis")
    leaving = dialog.rows[2]
    dialog.toggle_leaving(leaving)
    assert leaving.fate.itemText(0) == "2 cells and 32 768 px are epithelium: keep the class"
    leaving.fate.setCurrentIndex(leaving.fate.findData(1))
    dialog.accept()
    assert [button.text() for button in panel._names.values()] == ["background", "stroma", "mitosis"]
    labels = next(layer for layer in painted.viewer.layers if layer.name.startswith("tissue –"))
    assert (np.asarray(labels.data)[:128] == 1).all()
    assert "Paint mitosis" in [text for _, text in bridge.tools.shortcuts()]
    assert session.project.cells(image_id).counts() == {1: 2}
    bridge.undo()
    bridge.undo()
    assert [button.text() for button in panel._names.values()] == ["background", "stroma", "mitosis", "epithelium"]
    assert (np.asarray(labels.data)[:128] == 2).all()


def test_a_class_stays_unless_its_fate_is_chosen(painted: Any) -> None:
    dialog = legend(painted).edit_classes()
    dialog.toggle_leaving(dialog.rows[2])
    dialog.accept()
    assert 2 in painted.session.project.schema
    dialog = legend(painted).edit_classes()
    dialog.rows[0].name.setText("Epithelium")
    dialog.accept()
    assert "two classes with the name" in dialog._said.text() and dialog.isVisible()
    dialog.reject()


def bring(bench: Any, path: Path) -> ImportDialog:
    parent: QWidget = legend(bench)
    dialog = ImportDialog(bench.session, bench.bridge, bench.bridge.images.current, path, parent)
    dialog.show()
    return dialog


def test_colours_are_mapped_by_the_person(painted: Any, tmp_path: Path) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:100], pixels[100:150] = (0, 0x72, 0xB2), (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    dialog = bring(painted, tmp_path / "mask.png")
    assert dialog.classes == {"#000000": IGNORE, "#0072b2": 2, "#010203": IGNORE}
    assert "39 936 pixels have no class yet" in dialog._notes.text()
    dialog.choose("#010203", 1)
    dialog.vouch(True)
    dialog.accept()
    shown = painted.session.displayed(painted.bridge.images.current)
    assert (shown[:100] == 2).all() and (shown[100:150] == 1).all() and (shown[150:] == IGNORE).all()


def test_cells_and_another_size(painted: Any, tmp_path: Path) -> None:
    numbers = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((32, 32), int)).astype(np.uint16)
    Image.fromarray(numbers).save(tmp_path / "cells.png")
    (tmp_path / "cells.csv").write_text("id,class\n1,epithelium\n2,epithelium\n3,nobody\n")
    dialog = bring(painted, tmp_path / "cells.png")
    assert dialog.classes == {"epithelium": 2, "no class": IGNORE, "nobody": IGNORE}
    dialog.choose("nobody", 1)
    dialog.accept()
    assert painted.session.project.cells(painted.bridge.images.current).counts() == {1: 1, 2: 2, IGNORE: 61}
    Image.fromarray(numbers[:100]).save(tmp_path / "small.png")
    dialog = bring(painted, tmp_path / "small.png")
    assert "100 x 256 px, but the image is 256 x 256 px" in dialog._notes.text()
    assert not dialog._import.isEnabled()
    dialog.reject()
