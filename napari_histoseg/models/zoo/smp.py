"""Any architecture of segmentation-models-pytorch with any encoder of timm, as one family."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch
import timm
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.models.registry import register
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.zoo._parts import SmpNetwork, first_line, suggestion

_MULTIPLE = 32

SPEC = ModelSpec(
    id="smp",
    title="Any architecture and encoder (segmentation-models-pytorch)",
    paper="Iakubovskii 2019, Segmentation Models Pytorch; by default U-Net with ResNet-18",
    task="semantic",
    classes=BCSS5.classes,
    mpp=0.25,
    tile_px=512,
    halo_px=128,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=14_328_789,
    paper_input=(512, 512),
    gflops=43.49,
    normalisation="imagenet",
    pretrained="those of timm for the encoder, each under its own licence",
)


@register(SPEC)
def build(
    num_classes: int,
    *,
    arch: str = "unet",
    encoder: str = "resnet18",
    encoder_depth: int | None = None,
    decoder_channels: int | Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    encoder_options: Mapping[str, Any] | None = None,
) -> SmpNetwork:
    """A network with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    arch : str
        Architecture as the library names it: ``unet``, ``unetplusplus``, ``manet``, ``linknet``, ``fpn``, ``pspnet``,
        ``deeplabv3``, ``deeplabv3plus``, ``pan``, ``upernet``, ``segformer`` or ``dpt``.
    encoder : str
        A network of timm, or one that only segmentation-models-pytorch has, such as ``mit_b0``.
    encoder_depth : int, optional
        Stages of the encoder, each of half the resolution; by default the architecture's own.
    decoder_channels : int or sequence of int, optional
        Widths of the decoder, coarsest first; by default the architecture's own, as many as there are stages.
    options : mapping, optional
        Further arguments of the architecture's class, such as ``{"decoder_attention_type": "scse"}``.
    encoder_options : mapping, optional
        Arguments of timm's encoder, such as ``{"dynamic_img_size": True}`` for a vision transformer.

    Raises
    ------
    ModelError
        When a name is unknown, with the nearest ones, or the library cannot join these parts.
    """
    architecture = _architecture(arch)
    name, place = _encoder(encoder)
    arguments = _arguments(architecture, encoder_depth, decoder_channels, options or {})
    try:
        model = architecture(
            encoder_name=name, encoder_weights=None, classes=num_classes, **arguments, **(encoder_options or {})
        )
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, NotImplementedError, IndexError) as error:
        raise ModelError(
            f"segmentation-models-pytorch cannot join architecture '{arch}' with encoder '{encoder}' that way "
            f"({first_line(error)}); change one of them or their options."
        ) from error
    return SmpNetwork(model, _MULTIPLE, f"{architecture.__name__} with '{encoder}'", {place: encoder})


def _architecture(name: str) -> type[nn.Module]:
    known: dict[str, type[nn.Module]] = segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING
    if name.lower() not in known:
        raise ModelError(
            f"segmentation-models-pytorch has no architecture '{name}'; {suggestion(name.lower(), list(known))}"
        )
    return known[name.lower()]


def _encoder(name: str) -> tuple[str, str]:
    """The library's name of an encoder and where its weights stand in the network; timm's come first."""
    if timm.is_model(name):
        return f"tu-{name}", "model.encoder.model"
    own = segmentation_models_pytorch.encoders.get_encoder_names()
    if name not in own:
        raise ModelError(f"There is no encoder '{name}'; {suggestion(name, [*timm.list_models(), *own])}")
    return name, "model.encoder"


def _arguments(
    architecture: type[nn.Module],
    encoder_depth: int | None,
    decoder_channels: int | Sequence[int] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of the library's class, checked by name, with as many decoder widths as stages."""
    known = inspect.signature(architecture.__init__).parameters
    free = [
        key for key in known if key.startswith(("decoder_", "psp_", "encoder_output")) and key != "decoder_channels"
    ]
    for key in options:
        if key not in free:
            raise ModelError(f"{architecture.__name__} has no option '{key}'; {suggestion(key, free)}")
    arguments = dict(options)
    if decoder_channels is not None:
        if "decoder_channels" not in known:
            raise ModelError(f"{architecture.__name__} has no decoder_channels; {suggestion('decoder_channels', free)}")
        arguments["decoder_channels"] = decoder_channels
    if encoder_depth is not None:
        arguments["encoder_depth"] = encoder_depth
        default = known["decoder_channels"].default if "decoder_channels" in known else None
        if decoder_channels is None and isinstance(default, tuple):
            arguments["decoder_channels"] = default[:encoder_depth]
    return arguments
