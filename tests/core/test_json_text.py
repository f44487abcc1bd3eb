from __future__ import annotations

import json
import math

from napari_histoseg.core.json_text import json_text


def test_numbers_that_json_does_not_know_become_null() -> None:
    value = {"a": math.nan, 1: [math.inf, (-math.inf, 0.5)], "µm": "µ"}
    text = json_text(value)
    assert json.loads(text) == {"a": None, "1": [None, [None, 0.5]], "µm": "µ"}
    assert "µm" in text
