"""An experiment as data: which network learns what from which images, how, and on what it is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning.class_weights import Scheme

Options = dict[str, Any]
"""A name with its parameters, such as ``{"name": "focal", "gamma": 2}``."""

Share = Annotated[float, Field(ge=0, lt=1)]

NUCLEUS_CLASSES = ("background", "nucleus", "boundary")


class TestSet(BaseModel):
    """Images that finished weights are tested on.

    Parameters
    ----------
    data : str
        Name of a prepared set.
    split : str
        ``"test"`` and others as the set has them; ``"all"`` takes it whole.
    schema_id : str
        Label schema of the set; empty where it is that of the plan.
    tile_px, stride_px : int
        Side and distance of the tiles that are tested as images of their own; 0 tests images whole.
    objects : {"", "nuclei", "glands"}
        What the instances of the set are, where single objects are compared besides classes.
    regroup : mapping of str to tuple of str
        Where the set has other classes than the network: class of the set to the network's classes that count as it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    __test__ = False  # no test case, whatever its name looks like

    data: str
    split: str = "test"
    schema_id: str = ""
    tile_px: NonNegativeInt = 0
    stride_px: NonNegativeInt = 0
    objects: Literal["", "nuclei", "glands"] = ""
    regroup: dict[str, tuple[str, ...]] = {}


class Plan(BaseModel):
    """Everything that decides the result of a run, besides the data and the software.

    Parameters
    ----------
    title : str
        Name of the experiment in tables.
    model, variant : str, mapping
        Id of a registered model and the options of its builder.
    start : str
        Weights to begin with: a ``.safetensors`` file or the folder of a run; tensors that fit are taken over.
    normalisation : {"", "unit", "imagenet"}
        Of the image; empty is the model's own.
    data, train_split, validation_split : str
        Prepared set and its splits. Where ``validation_split`` names none, ``validation_share`` of the groups (slides,
        cases) is held out.
    validation_share : float
    schema_id : str
        Label schema of the set, and of the classes to learn where these are labels.
    target : {"labels", "nuclei", "score"}
        What is learned: the class of each pixel; background, nucleus and boundary made from instances; or one number.
    boundary_px : int
        Width of the boundary inside each nucleus.
    mpp : float
        µm per pixel at which images are seen; 0 leaves them as they are.
    macenko : bool
        Normalise the stains of each group of images first.
    tile_px, stride_px : int
        Side and distance of the tiles that images are cut into; 0 takes images whole.
    crop_px : int
        Side of the square that the network sees in training, cut from a tile; 0 is the tile.
    max_ignore : float
        Tiles with a larger share of unknown pixels are left out.
    augmentation : str
        ``"strong"``, ``"placement"`` (the same without changes of colour), or a name of `learning.presets`.
    scale : (float, float)
        Range of magnification of the first two, drawn log-uniformly.
    losses : tuple of mapping
        Terms that are summed, each with ``name``, ``weight`` and parameters.
    class_weights : str
        Scheme by which classes are weighted from their shares of all training pixels, in losses that do not say.
    auxiliary : float or "per_epoch"
        Weight of the losses of auxiliary outputs.
    optimizer, schedule : mapping
        ``name`` and parameters.
    learning_rate, weight_decay : float
    clip_norm : float
        Longest gradient; 0 is any.
    freeze, freeze_epochs : tuple of str, int
        Parts of the network that learn nothing, and for how many epochs; 0 is always.
    frozen_statistics : tuple of str
        Parts whose batch normalisation keeps its statistics; an empty name is the whole network.
    batch_size, accumulate : int
        Images at a time, over all processes, and how often before a step is taken.
    epochs, steps : int
        Length of the run; ``steps``, where given, decides.
    validate_every : int
        Steps between two validations; 0 is once in an epoch.
    monitor : str
        Number of the validation that steers schedule, early stop and the choice of weights; ``-`` before it: the
        larger the better.
    patience : int
        Validations without improvement after which a run ends; 0 never.
    keep : {"best", "last"}
        Which weights a run ends with.
    average : float
        Decay of a running average of the weights, which is then what is validated and kept; 0 for none.
    workers : int
        Threads that make batches ahead.
    bfloat16_on_cpu : bool
        Compute in bfloat16 on the CPU as well, twice as fast on processors that can; graphics cards that can always do.
    seed : int
    tests : tuple of TestSet
    name : str
        Of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    model: str
    variant: Options = {}
    start: str = ""
    normalisation: Literal["", "unit", "imagenet"] = ""
    data: str
    train_split: str = "train"
    validation_split: str = "validation"
    validation_share: Share = 0.2
    schema_id: str
    target: Literal["labels", "nuclei", "score"] = "labels"
    boundary_px: PositiveInt = 2
    mpp: NonNegativeFloat = 0
    macenko: bool = False
    tile_px: NonNegativeInt = 0
    stride_px: NonNegativeInt = 0
    crop_px: NonNegativeInt = 0
    max_ignore: float = Field(0.9, gt=0, le=1)
    augmentation: str = "none"
    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    losses: tuple[Options, ...] = ({"name": "cross_entropy"},)
    class_weights: Scheme = "none"
    auxiliary: float | Literal["per_epoch"] = 1.0
    optimizer: Options = {"name": "adam"}
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0
    schedule: Options = {"name": "constant"}
    clip_norm: NonNegativeFloat = 0
    freeze: tuple[str, ...] = ()
    freeze_epochs: NonNegativeInt = 0
    frozen_statistics: tuple[str, ...] = ()
    batch_size: PositiveInt = 8
    accumulate: PositiveInt = 1
    epochs: PositiveInt = 50
    steps: NonNegativeInt = 0
    validate_every: NonNegativeInt = 0
    monitor: str = "val_loss"
    patience: NonNegativeInt = 0
    keep: Literal["best", "last"] = "best"
    average: Share = 0
    workers: NonNegativeInt = 0
    bfloat16_on_cpu: bool = False
    seed: int = Field(42, ge=0, lt=1_000_000)
    tests: tuple[TestSet, ...] = ()
    name: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale needs the smaller magnification first")
        return self

    def change(self, **fields: Any) -> Plan:
        """The same experiment with other values, checked anew."""
        return Plan(**(self.model_dump() | fields))


def parse_settings(pairs: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """``key=value`` pairs as a mapping; values are JSON where they can be read as such, text otherwise.

    Raises
    ------
    InputError
        When a pair has no equals sign.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InputError(f"'{pair}' is no setting; write it as key=value.")
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings


def change_plan(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """A plan with some settings changed.

    Parameters
    ----------
    plan : Plan
    settings : mapping
        Keys are fields of the plan, options of its network (such as ``width``), or entries of a field that holds
        several, such as ``variant.width``, ``losses.0.gamma``, ``schedule.patience``.

    Raises
    ------
    InputError
        When a key is unknown (the nearest is named) or a value is not possible.
    """
    settings = dict(settings)
    fields: dict[str, Any] = plan.model_dump(mode="json")
    fields["model"] = settings.pop("model", fields["model"])
    options = _options_of(str(fields["model"]))
    for key, value in settings.items():
        first, *rest = key.split(".")
        if not rest and first in options and first not in fields:
            first, rest = "variant", [first]
        if first not in fields:
            raise _unknown(first, [*fields, *options])
        if rest:
            _set_inside(fields[first], rest, value, key)
        else:
            fields[first] = value
    return check_plan(fields)


def check_plan(fields: Mapping[str, Any]) -> Plan:
    """The plan of these fields; ``InputError`` names the first that is unknown or not possible."""
    try:
        return Plan(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown(where, list(Plan.model_fields)) from None
        raise InputError(f"Setting '{where}': {first['msg']}." if where else f"{first['msg']}.") from None


def _options_of(model_id: str) -> tuple[str, ...]:
    """Names of the options that the model's builder takes."""
    from napari_histoseg.models.registry import get_model

    return get_model(model_id).options()


def _set_inside(holder: Any, path: list[str], value: Any, key: str) -> None:
    *outer, last = path
    try:
        for part in outer:
            holder = holder[int(part) if isinstance(holder, list) else part]
        if isinstance(holder, list):
            holder[int(last)] = value
        else:
            holder[last] = value
    except (KeyError, IndexError, ValueError, TypeError):
        raise InputError(
            f"Setting '{key}' leads nowhere; the plan has nothing at '{key.rpartition('.')[0]}'."
        ) from None


def _unknown(key: str, known: list[str]) -> InputError:
    return InputError(f"There is no setting '{key}'; {suggestion(key, sorted(set(known)))}")
