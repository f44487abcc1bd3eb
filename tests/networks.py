"""Small networks with lively random weights, for tests of everything that runs a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_histoseg.models.registry import RegisteredModel, get_model
from napari_histoseg.models.weights import Weights, WeightsCard, save_weights


def small_variant(model: RegisteredModel) -> dict[str, Any]:
    """The model's own variant with the narrowest width and the smallest encoder that it can have."""
    spec, options = model.spec, model.options()
    small: dict[str, Any] = {}
    if "width" in options:
        small["width"] = 4 if spec.input_px is None else 1
    if "encoder" in options:
        is_residual = spec.variant.get("encoder", "resnet") != "nasnetalarge"
        small["encoder"] = (
            "test_resnet" if spec.task != "regression" else "resnet26" if is_residual else "test_efficientnet"
        )
    if "guide" in options:
        small["guide"] = "test_resnet"
    return dict(spec.variant) | small


def legal_side_px(model: RegisteredModel, factor: int = 4) -> int:
    """A small side of an image that the model takes."""
    return model.spec.input_px or factor * model.spec.required_multiple


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that carry the signal to the output, and batch statistics that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.weight.shape[0]
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * (1.7 / fan_in) ** 0.5
            if layer.bias is not None:
                layer.bias.data = torch.randn(layer.bias.shape, generator=generator) * 0.1
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features, generator=generator) * 0.1
            layer.running_var = torch.rand(layer.num_features, generator=generator) + 0.5
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            if layer.bias is not None:
                layer.bias.data = torch.randn(layer.bias.shape, generator=generator) * 0.1
    return network


def small_weights(model_id: str, folder: Path, *, mpp: float = 1.0, half: bool = False, **variant: Any) -> Weights:
    """Saved weights of a small network of that model."""
    model = get_model(model_id)
    options = small_variant(model) | variant
    network = lively(model.build(**options))
    card = WeightsCard("small", model_id, model.spec.classes, mpp, variant=options)
    return save_weights(folder / "small.safetensors", network.state_dict(), card, half=half)
