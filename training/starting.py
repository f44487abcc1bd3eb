"""The weights an experiment begins with, where they are not random."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.models.pretrained import download_encoder, load_encoders, offered_encoder
from napari_histoseg.models.weights import Weights, build_network, read_weights
from training.checkpoint import finished_weights

PRETRAINED = "pretrained"
"""What ``start`` says for the weights that timm offers; they are downloaded."""


def take_over(network: nn.Module, start: str) -> list[str]:
    """Give a network the weights it begins with; returns sentences on what was taken over and under which licence.

    Parameters
    ----------
    network : nn.Module
    start : str
        ``"pretrained"`` for what timm offers for each encoder; a safetensors file of an encoder; or the folder of a
        run, or its weights, of the same model or, for the guided regression, of its segmentation step.

    Raises
    ------
    InputError, ModelError, WeightsError, ResourceError
        When there are no such weights or they do not fit.
    """
    if start == PRETRAINED:
        said = []
        for name in dict.fromkeys(getattr(network, "encoders", {}).values()):
            offered = offered_encoder(name)
            reports = load_encoders(network, download_encoder(offered), encoder=name)
            said += [offered.sentence(), *(report.sentence() for report in reports)]
        if not said:
            raise InputError("This network has no encoder that could start pretrained; leave start empty.")
        return said
    path = Path(start)
    if path.is_file() and not path.with_suffix(".json").is_file():
        return [report.sentence() for report in load_encoders(network, path)]
    weights = _of_run(path)
    source = build_network(weights)
    if weights.model_id == "deeplabv3plus" and "guide.model" in getattr(network, "encoders", {}):
        from napari_histoseg.models.zoo.cellularity_guided import guide_by

        guide_by(network, source)
        return [f"Guided by '{weights.name}'."]
    state = source.state_dict()
    own = network.state_dict()
    fits = {key: tensor for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    if not fits:
        raise InputError(f"'{weights.name}' has no weights for this network; start from another model, or leave start.")
    network.load_state_dict(own | fits)
    return [f"{len(fits)} of {len(own)} tensors begin as in '{weights.name}'."]


def _of_run(path: Path) -> Weights:
    if path.is_file():
        return read_weights(path)
    found = finished_weights(path)
    if found is None:
        raise InputError(f"There are no weights at '{path}' to start from; give a safetensors file or a finished run.")
    return read_weights(found)
