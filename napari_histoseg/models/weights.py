"""Weights: a safetensors file with a JSON card beside it, checked before anything is believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.errors import HistosegError, WeightsError
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.models.registry import RegisteredModel, get_model
from napari_histoseg.models.spec import ModelSpec, Normalisation

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD_FORMAT = 1
RANDOM = "random"
"""Name of weights that are drawn anew from the card's seed."""

NONE = "none"
"""Name of the weights of a method that has none."""

_BUNDLED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class WeightsCard:
    """What a weights file is: for which model, which classes, from which data, under which licence.

    Parameters
    ----------
    name : str
        Unique for its model among the bundled weights.
    model : str
        Id of the model.
    classes : tuple of LabelClass
        Channel ``k`` of the output is ``classes[k]``.
    mpp : float
        µm per pixel at which the weights look at tissue.
    normalisation : {"unit", "imagenet"}
    variant : mapping
        Options of ``build`` that differ from the model's own.
    licence, attribution, data, recipe : str
        Where the weights come from and how they may be used.
    seed : int
    metrics : mapping
        Held-out numbers.
    sha256 : str
        Of the safetensors file; empty until it is saved.
    parent : str, optional
        Name or revision these weights were fine-tuned from.
    self_test : mapping, optional
        Probabilities the loaded network must reproduce (``predictor.add_self_test``).
    """

    name: str
    model: str
    classes: tuple[LabelClass, ...]
    mpp: float
    normalisation: Normalisation = "unit"
    variant: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    attribution: str = ""
    data: str = ""
    recipe: str = ""
    seed: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    parent: str | None = None
    self_test: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        card = {name: getattr(self, name) for name in self.__dataclass_fields__}
        card["classes"] = [c.to_json() for c in self.classes]
        return {"format": CARD_FORMAT, **card}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> WeightsCard:
        """The card in parsed JSON; keys it does not know are left out.

        Raises
        ------
        WeightsError
            When a field is missing or wrong, or the card was written by a newer version.
        """
        if int(data.get("format", 0)) > CARD_FORMAT:
            raise WeightsError(f"The card {where} was written by a newer version; update napari-histoseg to use it.")
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        try:
            known["classes"] = tuple(LabelClass.from_json(c) for c in data["classes"])
            known["mpp"] = float(data["mpp"])
            card = cls(**known)
        except (KeyError, TypeError, ValueError, HistosegError) as error:
            raise WeightsError(f"The card {where} has a missing or wrong entry ({error}); correct it.") from error
        if not card.classes or card.mpp <= 0 or card.normalisation not in ("unit", "imagenet"):
            raise WeightsError(
                f"The card {where} needs classes, a positive mpp and normalisation 'unit' or 'imagenet'; correct it."
            )
        return card

    @classmethod
    def for_spec(cls, spec: ModelSpec, name: str) -> WeightsCard:
        """A card with the model's own classes, resolution and normalisation."""
        return cls(name, spec.id, spec.classes, spec.mpp, spec.normalisation)


@dataclass(frozen=True)
class Weights:
    """Weights that can be loaded; ``path`` is None for random ones and for methods that have none."""

    name: str
    model_id: str
    path: Path | None
    card: WeightsCard

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        return self.card.classes

    @property
    def mpp(self) -> float:
        return self.card.mpp


def list_weights(model_id: str) -> tuple[Weights, ...]:
    """The weights that come with the package for this model, by name; those named "none" when it needs none."""
    spec = get_model(model_id).spec
    if not spec.needs_weights:
        return (Weights(NONE, model_id, None, WeightsCard.for_spec(spec, NONE)),)
    found = (read_weights(path) for path in sorted(_BUNDLED.glob("*.safetensors")))
    return tuple(weights for weights in found if weights.model_id == model_id)


def resolve(model_id: str, name: str | Path | None = None) -> Weights:
    """The weights a person means.

    Parameters
    ----------
    model_id : str
    name : str or Path, optional
        Name of bundled weights, path of a ``.safetensors`` file with its card beside it, or ``"random"``;
        by default the first bundled weights of the model. A method without weights answers to ``"none"``.

    Raises
    ------
    ModelError
        When there is no such model.
    WeightsError
        When there are no such weights, or they belong to another model.
    """
    spec = get_model(model_id).spec
    if not spec.needs_weights and name in (None, NONE, RANDOM):
        return list_weights(model_id)[0]
    if name == RANDOM:
        return Weights(RANDOM, model_id, None, WeightsCard.for_spec(spec, RANDOM))
    bundled = {weights.name: weights for weights in list_weights(model_id)}
    if name is None:
        if bundled:
            return next(iter(bundled.values()))
        raise WeightsError(f"No weights come with model '{model_id}'; give a file, or 'random' to start from scratch.")
    if str(name) in bundled:
        return bundled[str(name)]
    path = Path(name)
    if path.suffix != ".safetensors" and not path.exists():
        hint = suggestion(str(name), [*bundled, RANDOM], otherwise="give a file or choose from")
        raise WeightsError(f"Model '{model_id}' has no weights '{name}'; {hint}")
    weights = read_weights(path)
    if weights.model_id != model_id:
        raise WeightsError(f"'{path.name}' holds weights of model '{weights.model_id}', not of '{model_id}'.")
    return weights


def read_weights(path: Path) -> Weights:
    """The weights in ``path``, with the card ``<same name>.json`` or ``card.json`` beside it; tensors are not read."""
    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'; check the path.")
    own = path.with_suffix(".json")
    card_path = own if own.is_file() else path.with_name("card.json")
    try:
        data = json.loads(card_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"'{path.name}' has no card: put '{own.name}' beside it, which says its model, classes and mpp."
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"The card '{card_path}' cannot be read as JSON ({error}); replace it.") from error
    if not isinstance(data, dict):
        raise WeightsError(f"The card '{card_path}' is not a JSON object; replace it.")
    card = WeightsCard.from_json(data, f"'{card_path}'")
    return Weights(card.name, card.model, path, card)


def load_state(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a weights file in float32, after every check.

    Returns
    -------
    dict of str to Tensor
        Keys and shapes are exactly those of the model with the card's variant and classes.

    Raises
    ------
    WeightsError
        When the file is missing, truncated, of another format (such as a pickle), differs from the checksum of its
        card, holds values that are no numbers, or does not fit the model or the classes.
    """
    if weights.path is None:
        raise WeightsError(f"Weights '{weights.name}' have no file; they are drawn at random when a network is built.")
    state = read_tensors(weights.path, sha256=weights.card.sha256)
    _check_fit(state, weights, weights.path.name)
    return state


def read_tensors(path: Path, *, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, floating point ones in float32; nothing in it is executed.

    Parameters
    ----------
    path : Path
    sha256 : str
        What the file must have; empty where it is not known.

    Raises
    ------
    WeightsError
        When the file is missing, truncated, of another format (such as a pickle), differs from the checksum, or holds
        values that are no numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read ({error.strerror}); check the path.") from error
    _check_container(data, path.name)
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"'{path.name}' differs from the checksum of its card; copy the weights and card again.")
    try:
        state = load(data)
    except SafetensorError as error:
        raise WeightsError(f"'{path.name}' is damaged ({error}); copy the file again.") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise WeightsError(f"'{path.name}' holds values that are not numbers; it was saved from a failed training.")
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def save_weights(path: Path, state: Mapping[str, Tensor], card: WeightsCard, *, half: bool = False) -> Weights:
    """Write tensors and card, each atomically, and return the weights with their checksum.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the card becomes ``<same name>.json``.
    state : mapping of str to Tensor
    card : WeightsCard
    half : bool
        Store floating point tensors as float16, at half the size.
    """
    import torch
    from safetensors.torch import save

    from napari_histoseg.core.atomic import write_bytes, write_json

    dtype = torch.float16 if half else torch.float32
    tensors = {
        key: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for key, tensor in state.items()
    }
    data = save(tensors)
    card = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_bytes(path, data)
    write_json(path.with_suffix(".json"), card.to_json())
    return Weights(card.name, card.model, path, card)


def build_network(weights: Weights) -> nn.Module:
    """The model's network with these weights, in evaluation mode on the CPU.

    Random weights are drawn from the card's seed, so that the same seed gives the same network.
    """
    import torch

    model = get_model(weights.model_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.card.seed)
        network = _build(model, weights)
    if weights.path is not None:
        network.load_state_dict(load_state(weights))
    return network.eval()


def _build(model: RegisteredModel, weights: Weights) -> nn.Module:
    return model.build(len(weights.classes), **weights.card.variant)


def _check_container(data: bytes, name: str) -> None:
    """Raise unless ``data`` is a complete safetensors container; nothing in it is executed."""
    # A safetensors file begins with the length of its header, whose first byte may look like a pickle's.
    if data[8:9] != b"{" and (data[:4] == b"PK\x03\x04" or data[:1] == b"\x80"):
        raise WeightsError(
            f"'{name}' is a pickle or torch archive, which can run code when opened; convert it to safetensors."
        )
    header_size = int.from_bytes(data[:8], "little")
    if len(data) >= 8 and (header_size > 100 << 20 or data[8:9] not in (b"{", b"")):
        raise WeightsError(f"'{name}' is not a safetensors file; export the weights as safetensors.")
    truncated = WeightsError(f"'{name}' is cut short ({len(data)} bytes); copy the file again.")
    if len(data) < 8 + header_size or header_size == 0:
        raise truncated
    try:
        header = json.loads(data[8 : 8 + header_size])
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WeightsError(f"'{name}' is not a safetensors file; export the weights as safetensors.") from error
    if len(data) < 8 + header_size + max(ends, default=0):
        raise truncated


def _check_fit(state: Mapping[str, Tensor], weights: Weights, name: str) -> None:
    """Raise unless keys and shapes are those of the model with the card's variant and classes."""
    import torch

    with torch.device("meta"):
        expected = _build(get_model(weights.model_id), weights).state_dict()
    missing = sorted(set(expected) - set(state))
    foreign = sorted(set(state) - set(expected))
    if missing or foreign:
        example = f"no '{missing[0]}'" if missing else f"an unknown '{foreign[0]}'"
        raise WeightsError(
            f"'{name}' does not fit model '{weights.model_id}': {len(missing)} tensors are missing and {len(foreign)} "
            f"are foreign (it has {example}); choose the model it was made for."
        )
    for key, tensor in expected.items():
        if state[key].shape != tensor.shape:
            raise WeightsError(
                f"'{name}' has '{key}' of shape {tuple(state[key].shape)}, but model '{weights.model_id}' with the "
                f"{len(weights.classes)} classes of the card needs {tuple(tensor.shape)}; use these weights' own card."
            )
