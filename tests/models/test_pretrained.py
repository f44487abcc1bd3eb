"""Encoder weights from a file or from timm: what is copied, what is reported, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from napari_histoseg.core.errors import ModelError, ResourceError, WeightsError
from napari_histoseg.models.pretrained import PretrainedEncoder, download_encoder, load_encoders, offered_encoder
from napari_histoseg.models.registry import get_model


def saved(encoder: str, path: Path, seed: int = 3, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state of a classifier of timm, also written to a file."""
    torch.manual_seed(seed)
    state = timm.create_model(encoder, num_classes=10).state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            state[key] = torch.rand_like(tensor) + 0.1
    state |= changes
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return state


@pytest.mark.parametrize(
    ("model_id", "variant", "encoder", "places"),
    [
        ("unetsharp", {"encoder": "test_resnet"}, "test_resnet", ["encoder"]),
        ("deeplabv3plus", {"encoder": "test_resnet"}, "test_resnet", ["model.encoder.model"]),
        ("smp", {"encoder": "test_efficientnet"}, "test_efficientnet", ["model.encoder.model"]),
        ("cellularity_nasnet", {"encoder": "test_efficientnet"}, "test_efficientnet", ["encoder"]),
        (
            "cellularity_guided",
            {"encoder": "resnet26", "guide": "resnet26"},
            "resnet26",
            ["guide.model", "regression"],
        ),
    ],
)
def test_every_tensor_of_an_encoder_is_taken_over(
    model_id: str, variant: dict[str, Any], encoder: str, places: list[str], tmp_path: Path
) -> None:
    state = saved(encoder, tmp_path / "encoder.safetensors")
    network = get_model(model_id).build(**variant)
    reports = load_encoders(network, tmp_path / "encoder.safetensors")
    assert len(reports) == len(places)
    for report, place in zip(sorted(reports, key=lambda r: r.encoder), places, strict=True):
        own = network.get_submodule(place).state_dict()
        assert report.loaded == len(own) and report.missing == ()
        assert {key.partition(".")[0] for key in report.unexpected} <= {"fc", "classifier", "conv_head", "bn2"}
        for key, tensor in own.items():
            assert torch.equal(tensor, state[key]), key


def test_one_of_two_encoders_can_be_meant(tmp_path: Path) -> None:
    saved("test_resnet", tmp_path / "guide.safetensors")
    network = get_model("cellularity_guided").build(encoder="resnet26", guide="test_resnet")
    before = {key: tensor.clone() for key, tensor in network.get_submodule("regression").state_dict().items()}
    (report,) = load_encoders(network, tmp_path / "guide.safetensors", encoder="test_resnet")
    assert report.encoder == "test_resnet" and not report.missing
    assert all(torch.equal(before[k], t) for k, t in network.get_submodule("regression").state_dict().items())
    with pytest.raises(WeightsError, match="the encoder 'resnet26' needs"):
        load_encoders(network, tmp_path / "guide.safetensors")


def test_torchvisions_vgg16_fits_the_transfer_network(tmp_path: Path) -> None:
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
    state = {f"features.{n}.weight": torch.randn(*shape, 3, 3) for n, shape in shapes.items()}
    state |= {f"features.{n}.bias": torch.randn(shape[0]) for n, shape in shapes.items()}
    state["classifier.0.weight"] = torch.zeros(2, 2)
    save_file(state, tmp_path / "vgg16.safetensors")
    network = get_model("vgg_fcn").build()
    (report,) = load_encoders(network, tmp_path / "vgg16.safetensors")
    for n in (0, 2, 5, 7, 10, 12):
        assert torch.equal(network.get_parameter(f"features.{n}.weight"), state[f"features.{n}.weight"])
        assert torch.equal(network.get_parameter(f"features.{n}.bias"), state[f"features.{n}.bias"])
    assert set(report.unexpected) == {"features.14.weight", "features.14.bias", "classifier.0.weight"}
    assert report.sentence().startswith("'vgg16': 12 tensors loaded, missing none, unexpected 3 (")


def test_names_that_timm_joins_by_underscores_are_found(tmp_path: Path) -> None:
    network = get_model("smp").build(2, encoder="vgg11")
    own = network.get_submodule("model.encoder.model").state_dict()
    assert "features_0.weight" in own
    state = {key.replace("features_", "features."): torch.randn_like(tensor) for key, tensor in own.items()}
    save_file(state, tmp_path / "vgg11.safetensors")
    (report,) = load_encoders(network, tmp_path / "vgg11.safetensors")
    assert report.loaded == len(own) and not report.missing and not report.unexpected
    assert torch.equal(own["features_0.weight"], state["features.0.weight"])


def test_what_is_missing_stays_and_is_reported(tmp_path: Path) -> None:
    state = saved("test_resnet", tmp_path / "all.safetensors")
    part = {key: tensor for key, tensor in state.items() if not key.startswith("layer4.0.conv1")}
    counters = {key for key in part if key.endswith("num_batches_tracked")}
    save_file({f"encoder.{key}": part[key] for key in part.keys() - counters}, tmp_path / "part.safetensors")
    network = get_model("unetsharp").build(2, encoder="test_resnet")
    before = network.get_parameter("encoder.layer4.0.conv1.weight").clone()
    (report,) = load_encoders(network, tmp_path / "part.safetensors")
    assert report.missing == ("layer4.0.conv1.weight",)
    assert torch.equal(network.get_parameter("encoder.layer4.0.conv1.weight"), before)
    assert torch.equal(network.get_parameter("encoder.layer1.0.conv1.weight"), state["layer1.0.conv1.weight"])


def test_half_precision_is_read(tmp_path: Path) -> None:
    state = saved("test_resnet", tmp_path / "all.safetensors")
    halved = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    save_file(halved, tmp_path / "half.safetensors")
    network = get_model("unetsharp").build(2, encoder="test_resnet")
    load_encoders(network, tmp_path / "half.safetensors")
    found = network.get_parameter("encoder.layer1.0.conv1.weight")
    assert found.dtype == torch.float32
    assert torch.equal(found, halved["layer1.0.conv1.weight"].float())


def test_files_that_do_not_fit_are_refused_and_change_nothing(tmp_path: Path) -> None:
    network = get_model("unetsharp").build(2, encoder="test_resnet")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    saved("test_resnet", tmp_path / "odd.safetensors", **{"layer1.0.conv1.weight": torch.ones(1, 1, 1, 1)})
    save_file({"something": torch.ones(2)}, tmp_path / "foreign.safetensors")
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"conv1.weight": 1}))
    save_file({"layer1.0.conv1.weight": torch.tensor([float("nan")])}, tmp_path / "nan.safetensors")
    for name, message in (
        ("odd.safetensors", r"'layer1.0.conv1.weight' of shape \(1, 1, 1, 1\), but the encoder 'test_resnet' needs"),
        ("foreign.safetensors", "no tensor of the encoder 'test_resnet'"),
        ("weights.pth", "can run code when opened; convert it to safetensors"),
        ("nan.safetensors", "not numbers"),
        ("absent.safetensors", "cannot be read"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_encoders(network, tmp_path / name)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_networks_without_an_encoder_say_so(tmp_path: Path) -> None:
    saved("test_resnet", tmp_path / "encoder.safetensors")
    for network in (get_model("unet").build(2, width=2), nn.Conv2d(3, 3, 1)):
        with pytest.raises(ModelError, match="no encoder that could start from pretrained weights"):
            load_encoders(network, tmp_path / "encoder.safetensors")


def test_licences_are_shown_before_anything_is_downloaded() -> None:
    free = offered_encoder("resnet101")
    assert free == PretrainedEncoder("resnet101.a1h_in1k", "timm/resnet101.a1h_in1k", "apache-2.0")
    assert free.is_commercial and free.sentence().endswith("under the licence apache-2.0.")
    swsl = offered_encoder("resnext101_32x4d.fb_swsl_ig1b_ft_in1k")
    assert swsl.licence == "cc-by-nc-4.0" and not swsl.is_commercial
    assert "not for commercial use" in swsl.sentence()
    for licence, is_commercial in (("mit", True), ("unknown", False), ("fair-noncommercial-research-license", False)):
        assert PretrainedEncoder("x", "", licence).is_commercial is is_commercial


@pytest.mark.parametrize("model_id", ["unetsharp", "cellularity_resnext101", "deeplabv3plus", "smp"])
def test_what_a_model_offers_by_itself_may_be_used_commercially(model_id: str) -> None:
    with torch.device("meta"):
        network = get_model(model_id).build()
    offers = [offered_encoder(name) for name in network.encoders.values()]
    assert offers and all(offer.is_commercial and offer.repository for offer in offers)


def test_names_that_timm_does_not_know() -> None:
    with pytest.raises(ModelError, match="no encoder 'mit_b0'; give a safetensors file"):
        offered_encoder("mit_b0")
    with pytest.raises(ModelError, match=r"no weights 'resnet101\.by_nobody'"):
        offered_encoder("resnet101.by_nobody")


def test_without_a_connection_a_sentence_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ResourceError, match=r"connect to the internet or give a local safetensors file of 'resnet101"):
        download_encoder(offered_encoder("resnet101"))
    with pytest.raises(ResourceError, match=r"no weights of 'legacy_senet154\.in1k' to download as safetensors; give"):
        download_encoder(offered_encoder("legacy_senet154"))
