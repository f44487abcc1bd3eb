"""The legend: what each colour means, and which class the hand paints."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QWidget,
)

from napari_histoseg.core.palettes import PALETTES
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.numbers import grouped
from napari_histoseg.widgets.parts.panel import Panel
from napari_histoseg.widgets.parts.schema_dialog import SchemaDialog
from napari_histoseg.widgets.parts.swatch import SIDE_PX, swatch
from napari_histoseg.widgets.parts.view import View

_SHARES_EVERY_MS = 500
_LEAST_PX, _MOST_PX = 120, 280
_NAME_PX = 180
_FRAME_PX = 4  # napari's theme draws one


class ClassesPanel(Panel):
    """Colour, name, key, share of area and eye of each class; opacity and palette of all."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._shares: dict[int, QLabel] = {}
        self._cells: dict[int, QLabel] = {}
        self._names: dict[int, QPushButton] = {}
        self._group = QButtonGroup(self)
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self.column.addWidget(self._rows)
        self.column.addLayout(self._look_form())
        self.column.addStretch(1)
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_SHARES_EVERY_MS)
        self._counting.timeout.connect(self._show_shares)
        self.listen(view.appearance.changed, self._on_appearance_changed)
        self.listen(view.tools.changed, self._show_chosen)
        self.listen(view.images.current_changed, self._count_soon)
        self.listen(session.labels_changed, self._count_soon)
        self.listen(session.cells.changed, self._count_soon)
        self.listen(session.edited, self._count_soon)
        self._built: object = None
        self._fitting = QTimer(self)  # new rows have no height before they are shown
        self._fitting.setSingleShot(True)
        self._fitting.timeout.connect(self.updateGeometry)
        self._on_appearance_changed()

    def sizeHint(self) -> QSize:  # noqa: N802
        return self.minimumSizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """All classes, so that none is hidden below the edge, unless they are many."""
        body = self.widget()
        wanted = 0 if body is None else body.sizeHint().height() + _FRAME_PX
        return QSize(super().minimumSizeHint().width(), min(max(wanted, _LEAST_PX), _MOST_PX))

    def _look_form(self) -> QFormLayout:
        form = QFormLayout()
        form.setVerticalSpacing(3)
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(0, 100)
        self._opacity.setToolTip("How strongly the colours cover the tissue")
        self._opacity.valueChanged.connect(lambda value: self._view.appearance.set_opacity(value / 100))
        form.addRow("Opacity", self._opacity)
        self._palette = QComboBox()
        for palette in PALETTES:
            self._palette.addItem(palette.title, palette.id)
            self._palette.setItemData(self._palette.count() - 1, palette.source, Qt.ItemDataRole.ToolTipRole)
        self._palette.setToolTip(
            "Colours of the classes: one set that colour-blind people can tell apart, and each paper's"
        )
        self._palette.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._palette.activated.connect(
            lambda index: self._view.appearance.set_palette(str(self._palette.itemData(index)))
        )
        row = QHBoxLayout()
        row.addWidget(self._palette, 1)
        self._edit = QPushButton("Edit classes…")
        self._edit.setToolTip("Add, rename, recolour or take out classes of this project")
        self._edit.clicked.connect(self.edit_classes)
        row.addWidget(self._edit)
        form.addRow("Colours", row)
        return form

    def edit_classes(self) -> SchemaDialog:
        """Open the list of classes for changes."""
        dialog = SchemaDialog(self._session, self._view, self)
        dialog.show()
        return dialog

    def _on_appearance_changed(self) -> None:
        appearance = self._view.appearance
        self._opacity.blockSignals(True)
        self._opacity.setValue(round(100 * appearance.opacity))
        self._opacity.blockSignals(False)
        self._palette.setCurrentIndex(self._palette.findData(appearance.palette_id))
        if self._built != (appearance.schema, appearance.hidden):
            self._rebuild()

    def _rebuild(self) -> None:
        appearance = self._view.appearance
        schema = appearance.schema
        self._built = (schema, appearance.hidden)
        while (item := self._grid.takeAt(0)) is not None:
            item.widget().hide()  # it lives until the event loop comes round
            item.widget().deleteLater()
        self._names.clear()
        self._shares.clear()
        self._cells.clear()
        for line, c in enumerate(() if schema is None else schema.classes):
            self._add_row(line, c, is_visible=c.id not in appearance.hidden)
        self.next_step.setVisible(schema is None)
        project = self._session.project
        self._edit.setEnabled(project is not None and not project.read_only)
        self.suggest("open an image; its classes appear here.")
        self._show_chosen()
        self._show_shares()
        self._fitting.start()

    def _add_row(self, line: int, c: LabelClass, *, is_visible: bool) -> None:
        eye = QCheckBox()
        eye.setChecked(is_visible)
        eye.setToolTip(f"Show or hide {c.name}")
        eye.toggled.connect(partial(self._view.appearance.set_class_visible, c.id))
        text = self.fontMetrics().elidedText(c.name, Qt.TextElideMode.ElideRight, _NAME_PX)
        name = QPushButton(swatch(c.color), text)
        name.setIconSize(QSize(SIDE_PX, SIDE_PX))
        name.setCheckable(True)
        name.setToolTip(f"Paint {c.name}" + (f" (key {c.key.upper()})" if c.key else ""))
        name.clicked.connect(partial(self._on_name_clicked, c.id))
        self._group.addButton(name)
        key = QLabel("" if c.key is None else c.key.upper())
        key.setToolTip(f"Key that chooses {c.name}")
        share = QLabel("–")
        share.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        share.setMinimumWidth(self.fontMetrics().horizontalAdvance("100.0 %"))
        share.setToolTip(f"Share of the labelled area that is {c.name}")
        cells = QLabel()
        cells.setMinimumWidth(self.fontMetrics().horizontalAdvance("00 000"))
        cells.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        cells.setToolTip(f"Number of cells that are {c.name}")
        for column, widget in enumerate((eye, name, key, share, cells)):
            self._grid.addWidget(widget, line, column)
        self._names[c.id], self._shares[c.id], self._cells[c.id] = name, share, cells

    def _on_name_clicked(self, class_id: int) -> None:
        self._view.appearance.set_class_visible(class_id, True)
        self._view.tools.set_class(class_id)

    def _show_chosen(self) -> None:
        chosen = self._names.get(-1 if self._view.tools.class_id is None else self._view.tools.class_id)
        if chosen is not None:
            chosen.setChecked(True)

    def _count_soon(self) -> None:
        if not self._counting.isActive():
            self._counting.start()

    def _show_shares(self) -> None:
        image_id = self._view.images.current
        shares, cells = {}, {}
        if image_id is not None and self._session.project is not None:
            shares, cells = self._session.shares(image_id), self._session.cells.of(image_id).counts()
        has_regions = any(shares.values())
        for class_id, label in self._shares.items():
            label.setText(f"{100 * shares.get(class_id, 0.0):.1f} %" if shares else "–")
            label.setVisible(has_regions or not cells)
        for class_id, label in self._cells.items():
            label.setText(grouped(cells.get(class_id, 0)))
            label.setVisible(bool(cells))
