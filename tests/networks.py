"""Small networks with lively random weights, for tests of everything that runs a model."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_histoseg.models.registry import RegisteredModel, get_model
from napari_histoseg.models.weights import Weights, WeightsCard, save_weights


def options_of(model: RegisteredModel) -> set[str]:
    """Names of the options that the model's builder takes."""
    return set(inspect.signature(importlib.import_module(model.module).build).parameters) - {"num_classes"}


def small_variant(model: RegisteredModel) -> dict[str, Any]:
    """The model's own variant, narrow where it has a width."""
    return dict(model.spec.variant) | ({"width": 4} if "width" in options_of(model) else {})


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
    return network


def small_weights(model_id: str, folder: Path, *, mpp: float = 1.0, **variant: Any) -> Weights:
    """Saved weights of a small network of that model."""
    model = get_model(model_id)
    options = small_variant(model) | variant
    network = lively(model.build(**options))
    card = WeightsCard("small", model_id, model.spec.classes, mpp, variant=options)
    return save_weights(folder / "small.safetensors", network.state_dict(), card)
