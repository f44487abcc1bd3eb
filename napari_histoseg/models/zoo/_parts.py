"""What networks built on timm and segmentation-models-pytorch share."""

from __future__ import annotations

import difflib
from typing import Any

import timm
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.zoo._norms import tolerate_single_values


def timm_network(name: str, **options: Any) -> nn.Module:
    """A network of timm with random weights; nothing is downloaded.

    Parameters
    ----------
    name : str
        As timm lists it, with or without the tag of its weights.
    **options
        Of ``timm.create_model``, such as ``features_only``.

    Raises
    ------
    ModelError
        When timm has no such network, with the nearest names, or it cannot be built that way.
    """
    if not timm.is_model(name):
        raise ModelError(f"timm has no encoder '{name}'; {suggestion(name, timm.list_models())}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, AssertionError) as error:
        asked = ", ".join(f"{key}={value}" for key, value in options.items())
        raise ModelError(
            f"timm's '{name}' cannot be built with {asked} ({first_line(error)}); take another encoder."
        ) from error
    return network


def timm_features(name: str, **options: Any) -> tuple[nn.Module, list[int], list[int]]:
    """A network of timm that gives its feature maps, their channels and by how much each is smaller than the image."""
    network: Any = timm_network(name, features_only=True, **options)
    return network, list(network.feature_info.channels()), list(network.feature_info.reduction())


def suggestion(name: str, known: list[str]) -> str:
    """The end of a sentence about a name that does not exist: near names, or where to look."""
    near = difflib.get_close_matches(name, dict.fromkeys(known), 3)
    if near:
        return f"did you mean {' or '.join(repr(other) for other in near)}?"
    shown = ", ".join(known[:8])
    return f"choose from {shown}." if len(known) <= 8 else f"there are {len(known)}, for example {shown}."


def first_line(error: Exception) -> str:
    """The first line of a library's message, or the error's kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class SmpNetwork(nn.Module):
    """A network of segmentation-models-pytorch that checks the sides of its image and trains on a batch of one.

    Parameters
    ----------
    model : nn.Module
        As the library builds it.
    multiple : int
        Of which the sides of an image must be.
    title : str
        For messages.
    encoders : dict of str to str
        Where in this network pretrained weights can go, and the name of the encoder there.
    """

    def __init__(self, model: nn.Module, multiple: int, title: str, encoders: dict[str, str]) -> None:
        super().__init__()
        self.model = model
        self.encoders = encoders
        self._multiple = multiple
        self._title = title
        tolerate_single_values(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W), enlarged where the decoder ends at less."""
        check_multiple(self._title, image, self._multiple)
        try:
            logits: Tensor = self.model(image)
        except AssertionError as error:
            height, width = image.shape[-2:]
            raise ModelError(
                f"{self._title} does not take {height} x {width} pixels ({first_line(error)}); feed another size, or "
                "build the encoder for any size where it can (encoder_options such as dynamic_img_size)."
            ) from error
        if logits.shape[-2:] == image.shape[-2:]:
            return logits
        return functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
