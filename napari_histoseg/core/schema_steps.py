"""Steps by which a person changes the classes of a project, and the list of classes that they lead to."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass, LabelSchema

CLASS_KEYS = "qwrtyuiosghjkcn"
"""Letters that neither napari nor the correction tools use on labels."""

_COLORS = (
    *("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7", "#56B4E9", "#F0E442", "#8C2D6B", "#66D1B3", "#4D4D4D"),
    *("#8F3F00", "#A6DBFF", "#B3A72A", "#6A3D9A", "#F5B8D8", "#006B4E", "#FF9F66", "#999999", "#9E0142", "#DDDDDD"),
)


@dataclass(frozen=True)
class AddClass:
    """A new class at the end of the list; colour and key are chosen where they are not given, ``""`` is no key."""

    name: str
    color: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class AlterClass:
    """Another name, colour or key for a class; what is None stays, and the key ``""`` takes the key away."""

    class_id: int
    name: str | None = None
    color: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class RemoveClass:
    """Take a class out of the list.

    Parameters
    ----------
    class_id : int
    to : int or None
        Class that its pixels and cells get instead, ``IGNORE`` for none or an unknown one. With None the class stays
        when anything carries it.
    """

    class_id: int
    to: int | None = None


SchemaStep = AddClass | AlterClass | RemoveClass


@dataclass(frozen=True)
class SchemaPlan:
    """What steps lead to.

    Parameters
    ----------
    schema : LabelSchema
    moves : dict of int to int
        Class id that pixels and cells of a class taken out of the list get.
    told : tuple of str
        What each step does, for the history and the person.
    kept : tuple of str
        Why classes stay that were to go.
    """

    schema: LabelSchema
    moves: dict[int, int]
    told: tuple[str, ...]
    kept: tuple[str, ...]


def plan_steps(schema: LabelSchema, steps: Sequence[SchemaStep], carried: Collection[int]) -> SchemaPlan:
    """What ``steps`` make of a schema, one after the other.

    Parameters
    ----------
    schema : LabelSchema
    steps : sequence of AddClass, AlterClass or RemoveClass
    carried : collection of int
        Ids of the classes that pixels or cells have.

    Raises
    ------
    InputError
        When a class does not exist, a name or key would occur twice, or no class would be left.
    """
    moves: dict[int, int] = {}
    told: list[str] = []
    kept: list[str] = []
    for is_alter, group in itertools.groupby(steps, key=lambda step: isinstance(step, AlterClass)):
        if is_alter:  # at once, so that two classes can swap their keys
            schema, said = _altered(schema, [step for step in group if isinstance(step, AlterClass)])
            told += said
            continue
        for step in group:
            if isinstance(step, AddClass):
                schema, sentence = _added(schema, step)
            elif isinstance(step, RemoveClass) and not (step.to is None and step.class_id in carried):
                schema, sentence = _removed(schema, step)
                to = IGNORE if step.to is None else step.to
                moves = {old: to if new == step.class_id else new for old, new in moves.items()} | {step.class_id: to}
            else:
                kept.append(f"'{schema.by_id(step.class_id).name}' stays, since pixels or cells have this class.")
                continue
            told.append(sentence)
    return SchemaPlan(schema, moves, tuple(told), tuple(kept))


def brought_back(schema: LabelSchema, ids: Collection[int]) -> LabelSchema:
    """The schema with those of its retired classes in the list again; names and keys taken meanwhile give way."""
    for old in [c for c in schema.retired if c.id in ids]:
        names = {c.name.casefold() for c in schema.classes}
        name = old.name
        while name.casefold() in names:
            name += " (before)"
        key = None if old.key in {c.key for c in schema.classes} else old.key
        others = tuple(replace(c, former=_without(c.former, old.name)) for c in schema.classes)
        back = replace(old, name=name, key=key)
        schema = replace(schema, classes=(*others, back), retired=tuple(c for c in schema.retired if c.id != old.id))
    return schema


def free_color(taken: Collection[str]) -> str:
    """A colour that none of ``taken`` is, as long as there is one that can be told apart."""
    used = {color.upper() for color in taken}
    return next((color for color in _COLORS if color not in used), _COLORS[len(used) % len(_COLORS)])


def _added(schema: LabelSchema, step: AddClass) -> tuple[LabelSchema, str]:
    name = _checked_name(step.name)
    used = {c.id for c in (*schema.classes, *schema.retired)}
    free = [number for number in range(1, IGNORE) if number not in used]
    number = next((n for n in free if n > max(used)), free[0] if free else None)
    if number is None:
        raise InputError("There is no number left for another class; a project can have 255 of them.")
    color = step.color or free_color([c.color for c in schema.classes])
    keys = {c.key for c in schema.classes}
    key = next((k for k in CLASS_KEYS if k not in keys), None) if step.key is None else _checked_key(step.key)
    made = LabelClass(number, name, color, key)
    others = tuple(replace(c, former=_without(c.former, name)) for c in schema.classes)
    return replace(schema, classes=(*others, made)), f"New class '{name}'"


def _altered(schema: LabelSchema, steps: Sequence[AlterClass]) -> tuple[LabelSchema, list[str]]:
    classes = {c.id: c for c in schema.classes}
    told: list[str] = []
    for step in steps:
        new = old = classes[schema.by_id(step.class_id).id]
        if step.name is not None and step.name.strip() != old.name:
            name = _checked_name(step.name)
            new = replace(new, name=name, former=_without((*old.former, old.name), name))
            told.append(f"Class '{old.name}' is called '{name}'")
        if step.color is not None and step.color.upper() != old.color.upper():
            new = replace(new, color=step.color)
            told.append(f"Colour of '{new.name}': {step.color}")
        if step.key is not None and (step.key or None) != old.key:
            new = replace(new, key=_checked_key(step.key))
            told.append(f"Key of '{new.name}': {step.key.upper() or 'none'}")
        classes[old.id] = new
    return replace(schema, classes=tuple(classes.values())), told


def _removed(schema: LabelSchema, step: RemoveClass) -> tuple[LabelSchema, str]:
    old = schema.by_id(step.class_id)
    if len(schema.classes) == 1:
        raise InputError(f"'{old.name}' is the only class; add another one before it goes.")
    if step.to == old.id:
        raise InputError(f"'{old.name}' cannot be put into itself; choose another class.")
    left = tuple(c for c in schema.classes if c.id != old.id)
    told = f"Class '{old.name}' was taken out of the list"
    if step.to not in (None, IGNORE):
        to = schema.by_id(int(step.to or 0))
        former = tuple(dict.fromkeys((*to.former, old.name, *old.former)))
        left = tuple(replace(c, former=former) if c.id == to.id else c for c in left)
        told = f"Class '{old.name}' was put into '{to.name}'"
    return replace(schema, classes=left, retired=(*schema.retired, replace(old, former=()))), told


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(n for n in dict.fromkeys(names) if n.casefold() != name.casefold())


def _checked_name(name: str) -> str:
    if not name.strip():
        raise InputError("A class needs a name; give it one.")
    return name.strip()


def _checked_key(key: str) -> str | None:
    if key and (len(key) != 1 or key.lower() not in CLASS_KEYS):
        raise InputError(
            f"'{key}' cannot be the key of a class: the tools or napari use it; choose one of "
            f"{', '.join(CLASS_KEYS.upper())}."
        )
    return key.lower() or None
