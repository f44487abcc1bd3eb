"""The card of a model: everything the window and the commands know without building the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from napari_histoseg.core.schema import LabelClass

Task = Literal["semantic", "instance", "regression"]
Normalisation = Literal["unit", "imagenet"]


@dataclass(frozen=True)
class ModelSpec:
    """What a registered model is; one per architecture or paper configuration.

    Parameters
    ----------
    id : str
        Stable name for commands and files, e.g. ``"unet"``.
    title, paper : str
        Shown to the person; ``paper`` is a short citation.
    task : {"semantic", "instance", "regression"}
    classes : tuple of LabelClass
        Channel ``k`` of the output is ``classes[k]``; weights may bring their own classes.
    mpp : float
        µm per pixel at which the paper's model looks at tissue; weights may bring their own.
    tile_px : int
        Side of the square the predictor feeds by default, at model resolution.
    halo_px : int
        Border of a tile whose output depends on what lies outside it. With ``is_local`` it is at least half the
        receptive field, so that tiles agree with the whole image; otherwise it is the overlap that is blended.
    required_multiple : int
        Input sides must be multiples of this; the predictor pads by reflection.
    is_local : bool
        True when an output pixel depends on a bounded neighbourhood only (no normalisation over the tile).
    normalisation : {"unit", "imagenet"}
        ``unit`` is RGB / 255; ``imagenet`` subtracts the ImageNet mean and divides by its deviation.
    licence : str
        Of the architecture's code here.
    variant : mapping
        Keyword arguments of the paper's configuration for ``build``.
    golden_parameters : int
        Parameter count of the paper's configuration with ``len(classes)`` outputs; asserted by the contract test.
    golden_trainable : int, optional
        Those of them that learn; by default all.
    paper_input : tuple of int
        Height and width in pixels of what the paper feeds.
    gflops : float
        10⁹ operations, two for each multiply-add, for one image of ``paper_input``.
    input_px : int, optional
        The network takes squares of exactly this side and nothing else; ``required_multiple`` is then 1.
    pretrained : str
        One line on which weights its encoder can start from and their licence; empty when there are none.
    needs_weights : bool
        False for methods that learn nothing.
    """

    id: str
    title: str
    paper: str
    task: Task
    classes: tuple[LabelClass, ...]
    mpp: float
    tile_px: int
    halo_px: int
    required_multiple: int
    is_local: bool
    golden_parameters: int
    paper_input: tuple[int, int]
    gflops: float
    golden_trainable: int | None = None
    input_px: int | None = None
    pretrained: str = ""
    needs_weights: bool = True
    normalisation: Normalisation = "unit"
    licence: str = "BSD-3-Clause"
    variant: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
