"""Pretrained weights for the encoder of a network, loaded only when somebody asks for them.

They come from a safetensors file that the person gives, or from timm's place on the Hugging Face hub. Networks say in
``encoders`` where such weights can go and what stands there: ``{"encoder": "resnet101"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_histoseg.core.errors import ModelError, ResourceError, WeightsError
from napari_histoseg.models.weights import read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

_FILE = "model.safetensors"
_COUNTER = "num_batches_tracked"  # of batch normalisation; not in older files, and without influence


@dataclass(frozen=True)
class PretrainedEncoder:
    """Weights that timm offers for an encoder.

    Parameters
    ----------
    name : str
        With the tag of the weights, such as ``resnet101.a1h_in1k``.
    repository : str
        On the Hugging Face hub; empty when there is none.
    licence : str
        As timm states it, in lower case; ``unknown`` when it does not.
    """

    name: str
    repository: str
    licence: str

    @property
    def is_commercial(self) -> bool:
        """Whether the licence is known and does not exclude commercial use."""
        words = self.licence.split("-")
        return self.licence != "unknown" and "nc" not in words and "noncommercial" not in words

    def sentence(self) -> str:
        """What to show before these weights are used."""
        limit = "" if self.is_commercial else "; not for commercial use unless its owner says otherwise"
        return f"The weights '{self.name}' are under the licence {self.licence}{limit}."


@dataclass(frozen=True)
class LoadReport:
    """What came of loading weights into one encoder.

    Parameters
    ----------
    encoder : str
    loaded : int
        Tensors that were taken over.
    missing : tuple of str
        Tensors of the encoder that the file does not have; they keep the values they had.
    unexpected : tuple of str
        Tensors of the file for which the encoder has no place, such as those of a classifier.
    """

    encoder: str
    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def sentence(self) -> str:
        """The report in one line."""

        def listed(names: tuple[str, ...]) -> str:
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            return f"{len(names)} ({shown})" if names else "none"

        return (
            f"'{self.encoder}': {self.loaded} tensors loaded, missing {listed(self.missing)}, "
            f"unexpected {listed(self.unexpected)}."
        )


def load_encoders(network: nn.Module, path: Path, *, encoder: str | None = None) -> tuple[LoadReport, ...]:
    """Copy the weights of a safetensors file into the encoders of a network, tensor by tensor, by name.

    Parameters
    ----------
    network : nn.Module
        As a model of the registry builds it.
    path : Path
        Safetensors file with the names of timm or torchvision; they may begin with that of the encoder in the network.
    encoder : str, optional
        Only into encoders that are this network of timm; by default into all.

    Returns
    -------
    tuple of LoadReport
        One for each encoder that was loaded.

    Raises
    ------
    ModelError
        When the network has no encoder that could be pretrained.
    WeightsError
        When the file cannot be read, or has tensors of another shape or none of an encoder.
    """
    places = _encoders(network)
    tensors = read_tensors(path)
    return tuple(
        _load(network.get_submodule(place), place, name, tensors, path.name)
        for place, name in places.items()
        if encoder in (None, name)
    )


def offered_encoder(name: str) -> PretrainedEncoder:
    """What timm offers for an encoder, known without a network connection.

    Parameters
    ----------
    name : str
        As timm lists it; with a tag (``resnext101_32x4d.fb_swsl_ig1b_ft_in1k``) for other weights than its first.

    Raises
    ------
    ModelError
        When timm has no such encoder or no such tag.
    """
    import timm

    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError as error:
        raise ModelError(f"timm has no weights '{name}' ({error}); leave out the tag after the dot.") from error
    if config is None:
        raise ModelError(f"timm has no encoder '{name}'; give a safetensors file of its weights.")
    tagged = f"{name.partition('.')[0]}.{config.tag}" if config.tag else name
    return PretrainedEncoder(tagged, config.hf_hub_id or "", (config.license or "unknown").lower())


def download_encoder(offered: PretrainedEncoder) -> Path:
    """The safetensors file of these weights, from the local cache of the hub or downloaded into it.

    Raises
    ------
    ResourceError
        When there is nothing to download or no connection, with what to do instead.
    """
    import huggingface_hub

    remedy = f"give a local safetensors file of '{offered.name}' instead"
    if not offered.repository:
        raise ResourceError(f"timm has no weights of '{offered.name}' to download as safetensors; {remedy}.")
    try:
        return Path(huggingface_hub.hf_hub_download(offered.repository, _FILE))
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"The weights '{offered.name}' cannot be downloaded ({type(error).__name__}); connect to the internet or "
            f"{remedy}."
        ) from error


def _encoders(network: nn.Module) -> Mapping[str, str]:
    encoders = getattr(network, "encoders", None)
    if not isinstance(encoders, Mapping) or not encoders:
        raise ModelError("This network has no encoder that could start from pretrained weights; train it from scratch.")
    return encoders


def _load(encoder: nn.Module, place: str, name: str, tensors: Mapping[str, Tensor], file: str) -> LoadReport:
    own = encoder.state_dict()
    # timm joins the names of some encoders by underscores where it takes them apart for their feature maps.
    wanted = {key.replace(".", "_"): key for key in own}
    prefix = f"{place.rpartition('.')[2]}_"
    found: dict[str, Tensor] = {}
    unexpected = []
    for key, tensor in tensors.items():
        flat = key.replace(".", "_")
        target = wanted.get(flat) or wanted.get(flat.removeprefix(prefix))
        if target is None:
            unexpected.append(key)
            continue
        if tensor.shape != own[target].shape:
            raise WeightsError(
                f"'{file}' has '{key}' of shape {tuple(tensor.shape)}, but the encoder '{name}' needs "
                f"{tuple(own[target].shape)}; give a file of that encoder."
            )
        found[target] = tensor
    missing = tuple(key for key in own if key not in found and not key.endswith(_COUNTER))
    if not found:
        raise WeightsError(f"'{file}' has no tensor of the encoder '{name}'; give a file of that encoder.")
    encoder.load_state_dict(own | found)
    return LoadReport(name, len(found), missing, tuple(unexpected))
