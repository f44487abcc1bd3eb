"""Which folder of labelled images every retrained model is judged on."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.view import View

_NAME_PX = 170
_WHY = (
    "A folder of images that are labelled already: beside each 'a.png' its class numbers as 'a_labels.png'. They judge "
    "every retrained model and never teach it, so that a model which forgets them is not activated."
)


class ReferenceRow(QWidget):
    """Name of the folder, and buttons to choose another or none."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._name = QLabel()
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choose = QPushButton("Judge on a folder…")
        self._choose.setToolTip(_WHY)
        self._choose.clicked.connect(self._on_choose_clicked)
        self._drop = QPushButton("None")
        self._drop.setToolTip("Judge on held-out corrections and earlier verified fields only")
        self._drop.clicked.connect(lambda: self.set_folder(None))
        row.addWidget(self._name, 1)
        row.addWidget(self._choose)
        row.addWidget(self._drop)
        self.refresh()

    def refresh(self) -> None:
        """Show the folder that the project remembers."""
        folder = self._session.reference
        is_set = folder is not None
        text = "" if folder is None else f"Judged on {folder.name}"
        self._name.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, _NAME_PX))
        self._name.setToolTip("" if folder is None else f"{folder}\n{_WHY}")
        self._name.setVisible(is_set)
        self._drop.setVisible(is_set)
        self._choose.setText("Change…" if is_set else "Judge on a folder…")
        self._choose.setEnabled(self._session.project is not None)

    def set_folder(self, folder: Path | None) -> None:
        """Judge on that folder from now on; a folder without labelled images is answered with a sentence."""
        try:
            count = self._session.set_reference(folder)
        except HistosegError as error:
            self._view.say("error", str(error))
        else:
            if folder is not None:
                images = "image" if count == 1 else "images"
                self._view.say("info", f"Retrained models are judged on {count} labelled {images} of '{folder.name}'.")
        self.refresh()

    def _on_choose_clicked(self) -> None:
        start = self._session.reference or Path.home()
        path = QFileDialog.getExistingDirectory(self, "Images with their labels", str(start))
        if path:
            self.set_folder(Path(path))
