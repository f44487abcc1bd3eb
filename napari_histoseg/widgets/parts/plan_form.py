"""A form made from the fields of the fine-tuning plan: titles, descriptions and bounds come from there."""

from __future__ import annotations

import math
from typing import Any

from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QLabel, QSpinBox, QWidget

from napari_histoseg.learning.plan import FineTunePlan

_FIELD_PX = 120
_FIRST = ("steps", "minutes")


class PlanForm(QWidget):
    """A few fields in sight, the rest under *Advanced*."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[str, QSpinBox | QDoubleSpinBox] = {}
        first = QFormLayout(self)
        first.setContentsMargins(0, 0, 0, 0)
        rest_body = QWidget()
        rest = QFormLayout(rest_body)
        rest.setContentsMargins(0, 0, 0, 0)
        for name, info in FineTunePlan.model_fields.items():
            field = _field(info)
            label = QLabel(info.title or name)
            label.setWordWrap(True)
            field.setMaximumWidth(_FIELD_PX)
            label.setToolTip(info.description or "")
            field.setToolTip(info.description or "")
            self._fields[name] = field
            (first if name in _FIRST else rest).addRow(label, field)
        advanced = QCheckBox("Advanced")
        advanced.setToolTip("Show the settings that seldom need a change")
        advanced.toggled.connect(rest_body.setVisible)
        rest_body.hide()
        first.addRow(advanced)
        first.addRow(rest_body)

    def plan(self) -> FineTunePlan:
        """The plan as filled in."""
        return FineTunePlan(**{name: field.value() for name, field in self._fields.items()})

    def set_plan(self, plan: FineTunePlan) -> None:
        """Fill in a plan."""
        for name, field in self._fields.items():
            field.setValue(getattr(plan, name))


def _field(info: FieldInfo) -> QSpinBox | QDoubleSpinBox:
    bounds = {k: getattr(m, k) for m in info.metadata for k in ("ge", "gt", "le", "lt", "multiple_of") if hasattr(m, k)}
    if info.annotation is int:
        whole = QSpinBox()
        whole.setRange(int(bounds.get("ge", 0)), int(bounds.get("le", 2**31 - 1)))
        whole.setSingleStep(int(bounds.get("multiple_of", 1)))
        whole.setValue(int(info.default))
        return whole
    return _float_field(info, bounds)


def _float_field(info: FieldInfo, bounds: dict[str, Any]) -> QDoubleSpinBox:
    default = float(info.default)
    digits = 2 if default == 0 else max(1, 1 - math.floor(math.log10(default)))
    number = QDoubleSpinBox()
    number.setDecimals(digits)
    smallest = 10.0**-digits
    number.setRange(float(bounds.get("ge", bounds.get("gt", 0.0) + smallest)), float(bounds.get("le", 1e6)))
    number.setSingleStep(10.0 ** math.floor(math.log10(default)) if default else 0.1)
    number.setValue(default)
    return number
