"""What there is to know of a model: a few lines in sight, the rest behind a click."""

from __future__ import annotations

import html

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_histoseg.session import ActiveModel, ModelInfo
from napari_histoseg.session.catalogue import TASK_TITLES
from napari_histoseg.widgets.parts.fold import Fold
from napari_histoseg.widgets.parts.panel import text_label

UNTRAINED = (
    "<b>Untrained: draws random labels.</b> Train it from your annotations, or choose weights that have learned."
)
UNTRAINED_SCORE = "<b>Untrained: gives random scores.</b> Choose weights that have learned."


class ModelCard(QWidget):
    """Title, paper, classes and what a run will cost; parameters, licence and weights on demand.

    Parameters
    ----------
    way_out : QWidget, optional
        Shown below the warning that a model is untrained, where something can be done about it.
    """

    def __init__(self, way_out: QWidget | None = None) -> None:
        super().__init__()
        self._way_out = way_out or QWidget()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._head = text_label()
        self._warning = text_label()
        self._rows = text_label()
        self._fold = Fold("Details", "Task, resolution, size, licence and weights of this model", self._rows)
        for widget in (self._head, self._warning, self._way_out, self._fold):
            column.addWidget(widget)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.hide()

    def show_model(self, info: ModelInfo, active: ActiveModel | None = None, cost: str = "") -> None:
        """Show a model.

        Parameters
        ----------
        info : ModelInfo
        active : ActiveModel, optional
            The weights that are chosen; by default what the model comes with.
        cost : str
            A sentence on what running it will take.
        """
        classes, mpp = info.spec.classes, info.spec.mpp
        if active is not None:
            classes, mpp = active.weights.card.classes, active.weights.card.mpp
        lines = [f"<b>{html.escape(info.title)}</b>: {html.escape(info.spec.paper)}"]
        if info.spec.task != "regression":
            lines.append(f"{html.escape(', '.join(c.name for c in classes))}; looks at {mpp:g} µm per pixel")
        else:
            lines.append(f"a score from 0 to 1; looks at {mpp:g} µm per pixel")
        if cost:
            lines.append(html.escape(cost))
        self._head.setText("<br>".join(lines))
        is_untrained = info.is_untrained if active is None else active.is_untrained
        self._warning.setText(UNTRAINED_SCORE if info.spec.task == "regression" else UNTRAINED)
        self._warning.setVisible(is_untrained)
        self._way_out.setVisible(is_untrained and info.spec.task != "regression")
        self._rows.setText("<br>".join(f"<b>{name}</b>: {html.escape(text)}" for name, text in card_rows(info)))
        self.show()


def card_rows(info: ModelInfo) -> list[tuple[str, str]]:
    """(name, text) of everything that stands on a model's card."""
    spec = info.spec
    total, trainable = info.parameters()
    parameters = f"{total / 1e6:.1f} million" if total else "none: it learns nothing"
    if trainable != total:
        parameters += f", {trainable / 1e6:.1f} million of them trainable"
    height, width = spec.paper_input
    rows = [
        ("Task", TASK_TITLES[spec.task]),
        ("Classes in the paper", ", ".join(c.name for c in spec.classes)),
        ("Resolution in the paper", f"{spec.mpp:g} µm per pixel"),
        ("Input in the paper", f"{height} × {width} px"),
        ("Parameters", parameters),
        ("Arithmetic", f"{spec.gflops:.4g} GFLOPs for one input"),
        ("Licence", spec.licence),
    ]
    if spec.pretrained:
        rows.append(("Pretrained encoder", spec.pretrained))
    for weights in info.weights if spec.needs_weights else ():
        state = "" if weights.is_present else ", missing"
        names = ", ".join(c.name for c in weights.classes)
        rows.append((f"Weights {html.escape(weights.name)}", f"{weights.licence}{state}; {names}"))
    return [(name, text) for name, text in rows if text]
