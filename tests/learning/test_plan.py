from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_histoseg.learning.plan import FineTunePlan


def test_every_field_can_become_a_form_row_and_a_flag() -> None:
    for name, field in FineTunePlan.model_fields.items():
        assert field.title and field.description, name
        bounds = {type(m).__name__ for m in field.metadata}
        assert bounds & {"Ge", "Gt"} and bounds & {"Le", "Lt"}, name


def test_a_plan_is_frozen_and_survives_its_file() -> None:
    plan = FineTunePlan(steps=7, seed=3)
    with pytest.raises(ValidationError):
        plan.steps = 8  # type: ignore[misc]
    assert FineTunePlan.model_validate_json(plan.model_dump_json()) == plan
    assert hash(plan) == hash(FineTunePlan(steps=7, seed=3))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"tile_px": 100}, {"held_out_share": 0.9}, {"stepps": 5}])
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FineTunePlan.model_validate(wrong)
