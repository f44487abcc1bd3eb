"""A loaded network that turns pixels into class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.errors import InputError, ModelError, WeightsError
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.models.folding import fold_batch_norm
from napari_histoseg.models.intake import Intake
from napari_histoseg.models.outputs import main_output
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights, build_network

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)

_SELF_TEST_SIDE_PX = 64
_SELF_TEST_POINTS = 4
_SELF_TEST_TOLERANCE = 5e-3


class Predictor:
    """Network, weights and device; a context manager that lets go of the network at its end.

    Batch normalisation is folded into the convolutions, and the pair of input and output that the card may hold is
    checked, so that a network that loads but computes something else is refused.

    Parameters
    ----------
    weights : Weights
    device : str
        ``"cpu"``, ``"cuda"`` (or ``"cuda:1"``), or ``"auto"`` for a graphics card when there is one.
    before_layer : callable, optional
        Called before every layer; may raise to break off a long forward pass.

    Raises
    ------
    WeightsError
        When the weights are damaged, do not fit, or do not reproduce their self-test.
    InputError
        When the device is not there.
    """

    def __init__(
        self, weights: Weights, *, device: str = "auto", before_layer: Callable[[], None] | None = None
    ) -> None:
        self.weights = weights
        self.spec = get_model(weights.model_id).spec
        self.intake = Intake.of(weights)
        self.device = find_device(device)
        network = fold_batch_norm(build_network(weights))
        self.network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.requires_grad_(False)
        if before_layer is not None:
            _call_before_layers(self.network, before_layer)
        mean, sd = (
            (IMAGENET_MEAN, IMAGENET_SD) if weights.card.normalisation == "imagenet" else ((0.0,) * 3, (1.0,) * 3)
        )
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._sd = torch.tensor(sd, device=self.device).view(1, 3, 1, 1)
        if weights.card.self_test is not None:
            self._check(weights.card.self_test)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the network's memory; the predictor cannot be used afterwards."""
        self.network = nn.Module()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        return self.weights.classes

    @property
    def mpp(self) -> float:
        return self.weights.mpp

    def logits(self, batch: Tensor) -> Tensor:
        """Logits (N, C, H, W), or scores (N,), of a batch (N, 3, H, W) in 0..1 of sides that the network accepts."""
        batch = batch.to(self.device)
        if self.weights.card.normalisation == "imagenet":
            batch = (batch - self._mean) / self._sd
        with torch.inference_mode():
            output = self.network(batch.contiguous(memory_format=torch.channels_last))
        return main_output(output)

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities of RGB images.

        Parameters
        ----------
        batch : ndarray of uint8, shape (N, H, W, 3)

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)
            Sides that the network cannot take are reflected to the next that it can and cut again, and so is the
            context of a network that needs some.

        Raises
        ------
        InputError
            When the images are larger than the only size that the network takes.
        ModelError
            When the model gives a score and no map.
        """
        return self.central_probabilities(self.intake.surrounded(batch))

    def central_probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same, but for the outermost ``intake.context_px`` pixels on each side, which are seen only."""
        if self.spec.task == "regression":
            raise ModelError(f"{self.spec.title} gives one score for a field, not a map of classes; score the image.")
        height, width = (side - 2 * self.intake.context_px for side in batch.shape[1:3])
        probabilities = self.logits(self._tensor(self.intake.filled(batch))).float().softmax(dim=1)
        return np.ascontiguousarray(probabilities[..., :height, :width].cpu().numpy())

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One score for each RGB image, of a model whose task is regression.

        Parameters
        ----------
        batch : ndarray of uint8, shape (N, H, W, 3)
            At the resolution and of the size the model was made for; nothing is padded, since that would count as
            tissue.

        Returns
        -------
        ndarray of float32, shape (N,)
            From 0 to 1.

        Raises
        ------
        ModelError
            When the model gives no scores, or the network does not take images of that size.
        """
        if self.spec.task != "regression":
            raise ModelError(f"{self.spec.title} gives a map of classes, not a score; choose a model for regression.")
        scores: NDArray[np.float32] = self.logits(self._tensor(batch)).float().cpu().numpy()
        return scores

    def _tensor(self, batch: NDArray[np.uint8]) -> Tensor:
        """The batch as (N, 3, H, W) in 0..1 on the device."""
        pixels = torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(self.device)
        return pixels.permute(0, 3, 1, 2).float().div_(255)

    def _check(self, self_test: Mapping[str, Any]) -> None:
        expected = np.asarray(self_test["probabilities"], np.float32)
        found = _self_test_probabilities(self)
        worst = float(np.abs(found - expected).max()) if found.shape == expected.shape else 1.0
        if not worst <= _SELF_TEST_TOLERANCE:
            raise WeightsError(
                f"Weights '{self.weights.name}' do not reproduce the self-test of their card (off by {worst:.3f}); "
                "card and weights do not belong together, or torch is damaged: reinstall one or the other."
            )


def find_device(name: str) -> torch.device:
    """The torch device of that name; ``"auto"`` is the graphics card when there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"There is no device '{name}'; choose auto, cpu or cuda.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"Device '{name}' is not there or torch cannot use it; choose auto or cpu.")
    return device


def add_self_test(weights: Weights) -> Weights:
    """Record on the card what the saved weights compute for a fixed pattern; every later load checks it."""
    if weights.path is None:
        raise WeightsError("Random weights have no card to write a self-test on; save them first.")
    with Predictor(replace(weights, card=replace(weights.card, self_test=None)), device="cpu") as predictor:
        probabilities = _self_test_probabilities(predictor)
    self_test = {"pattern": "integer ramp 64 px", "probabilities": probabilities.round(5).tolist()}
    card = replace(weights.card, self_test=self_test)
    write_json(weights.path.with_suffix(".json"), card.to_json())
    return replace(weights, card=card)


def _self_test_probabilities(predictor: Predictor) -> NDArray[np.float32]:
    """Probabilities (C, 4, 4) on a grid of points of a pattern made of whole numbers only, or its score (1, 1, 1)."""
    multiple = predictor.spec.required_multiple
    side = -(-_SELF_TEST_SIDE_PX // multiple) * multiple
    y, x, c = np.ogrid[:side, :side, :3]
    pattern = ((3 * y + 5 * x + 60 * c + (y * x) // 7) % 256).astype(np.uint8)
    if predictor.spec.task == "regression":
        return predictor.scores(pattern[None])[None, None]
    step = side // _SELF_TEST_POINTS
    return predictor.probabilities(pattern[None])[0, :, step // 2 :: step, step // 2 :: step]


def _call_before_layers(network: nn.Module, call: Callable[[], None]) -> None:
    def hook(_layer: nn.Module, _inputs: Any) -> None:
        call()

    for layer in network.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_pre_hook(hook)
