"""Weights: what is written is read again, and what is wrong is refused in one sentence."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import lively, small_weights
from safetensors.torch import save_file

from napari_histoseg.core.errors import HistosegError, WeightsError
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import (
    Weights,
    WeightsCard,
    build_network,
    list_weights,
    load_state,
    read_weights,
    resolve,
    save_weights,
)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return small_weights("unet", tmp_path)


def refusal(path: Path) -> str:
    """The sentence with which weights are refused; nothing but WeightsError may come."""
    with pytest.raises(WeightsError) as caught:
        load_state(read_weights(path))
    text = str(caught.value)
    assert path.name in text or path.with_suffix(".json").name in text, text
    assert "\n" not in text and text.endswith(".") and text.count(". ") == 0, text
    return text


def edit_card(weights: Weights, **changes: object) -> Path:
    assert weights.path is not None
    card = weights.path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))
    return weights.path


def test_saved_weights_come_back_equal(weights: Weights) -> None:
    assert weights.path is not None
    again = read_weights(weights.path)
    assert again == weights
    network = lively(get_model("unet").build(**weights.card.variant))
    state = load_state(again)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in network.state_dict().items())


def test_half_precision_is_half_as_large_and_loads_as_float32(tmp_path: Path, weights: Weights) -> None:
    assert weights.path is not None
    half = save_weights(tmp_path / "half.safetensors", load_state(weights), weights.card, half=True)
    assert half.path is not None
    assert half.path.stat().st_size < 0.7 * weights.path.stat().st_size
    exact, rounded = load_state(weights), load_state(half)
    assert all(tensor.dtype == torch.float32 for tensor in rounded.values())
    assert all(torch.allclose(exact[key], rounded[key], atol=1e-2) for key in exact)


def test_batch_norm_counters_stay_whole_numbers(tmp_path: Path) -> None:
    state = load_state(small_weights("unet", tmp_path, batch_norm=True))
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}


def test_a_revision_folder_with_card_json_is_read(weights: Weights, tmp_path: Path) -> None:
    assert weights.path is not None
    folder = tmp_path / "revision"
    folder.mkdir()
    weights.path.rename(folder / "weights.safetensors")
    weights.path.with_suffix(".json").rename(folder / "card.json")
    load_state(read_weights(folder / "weights.safetensors"))


def test_a_failed_write_leaves_the_old_weights(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = load_state(weights)
    monkeypatch.setattr("napari_histoseg.core.atomic.os.fsync", full)
    assert weights.path is not None
    with pytest.raises(OSError, match="No space"):
        save_weights(weights.path, {key: tensor + 1 for key, tensor in before.items()}, weights.card)
    monkeypatch.undo()
    after = load_state(read_weights(weights.path))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_random_weights_depend_on_the_seed_alone() -> None:
    weights = resolve("unet", "random")
    small = replace(weights, card=replace(weights.card, variant={"width": 2}))
    first = build_network(small).state_dict()
    torch.manual_seed(123)
    second = build_network(small).state_dict()
    other = build_network(replace(small, card=replace(small.card, seed=1))).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    weights = resolve("unet", "random")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build_network(replace(weights, card=replace(weights.card, variant={"width": 2})))
    assert torch.equal(torch.rand(1), expected)


def test_resolve_takes_a_path_and_refuses_other_models(weights: Weights) -> None:
    assert resolve("unet", weights.path) == weights
    with pytest.raises(WeightsError, match="of model 'unet', not of 'spade_segresnet'"):
        resolve("spade_segresnet", weights.path)


def test_resolve_names_what_there_is() -> None:
    with pytest.raises(WeightsError, match=r"no weights 'epithelum'.*random"):
        resolve("spade_segresnet", "epithelum")
    with pytest.raises(WeightsError, match="There is no weights file"):
        resolve("unet", "/nowhere/x.safetensors")


def test_bundled_weights_load(tmp_path: Path) -> None:
    for model_id in ("unet", "spade_segresnet"):
        for weights in list_weights(model_id):
            build_network(weights)
            assert weights.card.licence and weights.card.attribution and weights.card.sha256


# Bad files


def test_missing_card(weights: Weights) -> None:
    assert weights.path is not None
    weights.path.with_suffix(".json").unlink()
    assert "no card" in refusal(weights.path)


def test_unreadable_card(weights: Weights) -> None:
    assert weights.path is not None
    weights.path.with_suffix(".json").write_text("{")
    assert "JSON" in refusal(weights.path)
    weights.path.with_suffix(".json").write_text("[]")
    assert "not a JSON object" in refusal(weights.path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"format": 99}, "newer version"),
        ({"classes": [{"id": 300, "name": "x", "colour": "#000000"}]}, "300"),
        ({"classes": []}, "needs classes"),
        ({"classes": None}, "missing or wrong"),
        ({"mpp": "fine"}, "missing or wrong"),
        ({"mpp": 0}, "positive mpp"),
        ({"normalisation": "log"}, "normalisation"),
    ],
)
def test_wrong_card(weights: Weights, changes: dict[str, object], part: str) -> None:
    assert part in refusal(edit_card(weights, **changes))


def test_wrong_keys(tmp_path: Path, weights: Weights) -> None:
    state = load_state(weights)
    state["encoder.weight"] = state.pop("head.weight")
    path = save_weights(tmp_path / "keys.safetensors", state, weights.card).path
    assert path is not None
    text = refusal(path)
    assert "does not fit model 'unet'" in text and "head.weight" in text and "1 tensors are missing" in text


def test_wrong_classes(weights: Weights) -> None:
    text = refusal(edit_card(weights, classes=[c.to_json() for c in EPITHELIUM.classes]))
    assert "3 classes" in text and "head.weight" in text


def test_wrong_variant(weights: Weights) -> None:
    with pytest.raises(HistosegError, match="no option 'deep'"):
        load_state(read_weights(edit_card(weights, variant={"deep": True})))
    assert "small.safetensors" in refusal(edit_card(weights, variant={"width": 8}))


def test_wrong_checksum(weights: Weights) -> None:
    assert weights.path is not None
    data = bytearray(weights.path.read_bytes())
    data[-1] ^= 1
    weights.path.write_bytes(data)
    assert "checksum" in refusal(weights.path)


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 0.5, 0.999])
def test_truncated(weights: Weights, keep: float) -> None:
    assert weights.path is not None
    data = weights.path.read_bytes()
    weights.path.write_bytes(data[: int(keep if keep > 1 or keep == 0 else keep * len(data))])
    assert "cut short" in refusal(weights.path)


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_with_a_safetensors_name_is_not_opened(weights: Weights, protocol: int, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "exploded",)

    assert weights.path is not None
    weights.path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    assert "pickle" in refusal(weights.path)
    assert not (tmp_path / "exploded").exists()


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path: Path, weights: Weights) -> None:
    assert weights.path is not None
    data = weights.path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    longer = (size // 256 + 1) * 256 + 0x80
    weights.path.write_bytes(longer.to_bytes(8, "little") + data[8 : 8 + size].ljust(longer) + data[8 + size :])
    edit_card(weights, sha256="")
    load_state(read_weights(weights.path))


def test_a_torch_archive_with_a_safetensors_name(weights: Weights) -> None:
    assert weights.path is not None
    torch.save({"a": torch.zeros(1)}, weights.path)
    assert "pickle or torch archive" in refusal(weights.path)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x0a" + bytes(7) + b"{not json}" + bytes(50)])
def test_another_format_with_a_safetensors_name(weights: Weights, data: bytes) -> None:
    assert weights.path is not None
    weights.path.write_bytes(data)
    assert "not a safetensors file" in refusal(weights.path)


def test_values_that_are_no_numbers(tmp_path: Path, weights: Weights) -> None:
    state = load_state(weights)
    state["head.bias"][0] = float("nan")
    path = save_weights(tmp_path / "nan.safetensors", state, weights.card).path
    assert path is not None
    assert "not numbers" in refusal(path)


def test_a_file_from_elsewhere_without_a_checksum_is_still_checked(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "own.safetensors"
    save_file(load_state(weights), path)
    path.with_suffix(".json").write_text(json.dumps(replace(weights.card, sha256="").to_json()))
    load_state(read_weights(path))


def test_the_card_keeps_every_field(tmp_path: Path) -> None:
    card = WeightsCard(
        "n", "unet", EPITHELIUM.classes, 1.5, "imagenet", {"width": 16}, "CC BY 4.0", "someone", "EBHI", "recipe", 7,
        {"dice": 0.9}, "00", "parent", {"probabilities": []},
    )  # fmt: skip
    assert WeightsCard.from_json(json.loads(json.dumps(card.to_json())), "here") == card
