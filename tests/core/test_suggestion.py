from __future__ import annotations

from napari_histoseg.core.suggestion import suggestion


def test_the_nearest_name_or_all_or_some() -> None:
    assert suggestion("tumour", ("tumor", "stroma")) == "did you mean 'tumor'?"
    assert suggestion("x", ("tumor", "stroma")) == "choose from tumor, stroma."
    assert suggestion("x", (), otherwise="it has") == "it has none."
    many = suggestion("x", (f"layer{k}" for k in range(100)))
    assert many.endswith("layer18, layer19, …")
