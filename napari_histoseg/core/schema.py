"""What the label values of an image mean: classes with a name, a colour and a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion

IGNORE = 255
"""Label value of a pixel without a class: not predicted, not annotated, or not to be learned from."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a schema.

    Parameters
    ----------
    id : int
        Value in label arrays, 0 to 254.
    name : str
        Shown in the legend, written to files.
    color : str
        ``#rrggbb``.
    key : str, optional
        Single shortcut key that selects the class for painting.
    former : tuple of str
        Names that it had before, and those of classes that were put into it: models and files may still use them.
    """

    id: int
    name: str
    color: str
    key: str | None = None
    former: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.id < IGNORE:
            raise InputError(f"Class '{self.name}' has id {self.id}; use a whole number from 0 to 254.")
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise InputError(f"Class '{self.name}' has colour '{self.color}'; write it as #rrggbb.")

    @property
    def rgb(self) -> tuple[int, int, int]:
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id, "name": self.name, "colour": self.color, "key": self.key}
        return own | ({"former": list(self.former)} if self.former else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelClass:
        try:
            own = int(data["id"]), str(data["name"]), str(data["colour"]), data.get("key")
            return cls(*own, former=tuple(str(name) for name in data.get("former", ())))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"A label class needs id, name and colour; {dict(data)!r} has a wrong or missing {error}."
            ) from None


@dataclass(frozen=True)
class LabelSchema:
    """A frozen list of classes with unique ids, names and keys.

    Parameters
    ----------
    id, title : str
    classes : tuple of LabelClass
    retired : tuple of LabelClass
        Classes that were taken out of the list. Old edits may still mention their ids, which are never used again.

    Raises
    ------
    InputError
        When it is empty or an id, name or key occurs twice.
    """

    id: str
    title: str
    classes: tuple[LabelClass, ...]
    retired: tuple[LabelClass, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes:
            raise InputError(f"Label schema '{self.id}' has no classes; give it at least one.")
        for what in ("id", "name", "key"):
            given = [getattr(c, what) for c in self.classes if getattr(c, what) is not None]
            values = [value.casefold() for value in given] if what == "name" else given
            doubled = {v for v in values if values.count(v) > 1}
            if doubled:
                raise InputError(
                    f"Label schema '{self.id}' has two classes with the {what} {sorted(doubled)[0]!r}; "
                    "make them different."
                )
        both = {c.id for c in self.retired} & set(self.ids)
        if both:
            raise InputError(f"Label schema '{self.id}' has a class with the id {min(both)}, which was another one's.")

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(c.id for c in self.classes)

    def __contains__(self, class_id: int) -> bool:
        return class_id in self.ids

    def by_id(self, class_id: int) -> LabelClass:
        for c in self.classes:
            if c.id == class_id:
                return c
        raise InputError(
            f"Label value {class_id} is no class of schema '{self.id}'; it has {', '.join(map(str, self.ids))}."
        )

    def by_name(self, name: str) -> LabelClass:
        """The class of that name, else the one that had it before; ``InputError`` names the nearest."""
        for c in self.classes:
            if c.name.casefold() == name.casefold():
                return c
        for c in self.classes:
            if name.casefold() in (former.casefold() for former in c.former):
                return c
        hint = suggestion(name, (c.name for c in self.classes), otherwise="it has")
        raise InputError(f"Schema '{self.id}' has no class '{name}'; {hint}")

    def with_colors(self, colors: Mapping[int, str]) -> LabelSchema:
        """The same classes in other colours; ids that ``colors`` lacks keep theirs."""
        return replace(self, classes=tuple(replace(c, color=colors.get(c.id, c.color)) for c in self.classes))

    def crosswalk(self, classes: Iterable[LabelClass]) -> NDArray[np.uint8]:
        """Lookup table that turns label values of ``classes`` into this schema's, matched by name, also former ones.

        Returns
        -------
        ndarray of uint8, shape (256,)
            ``table[value]``; values without a class of the same name become ``IGNORE``.
        """
        table = np.full(256, IGNORE, np.uint8)
        own = {former.casefold(): c.id for c in self.classes for former in c.former}
        own |= {c.name.casefold(): c.id for c in self.classes}
        for c in classes:
            table[c.id] = own.get(c.name.casefold(), IGNORE)
        return table

    def check(self, labels: NDArray[Any], where: str) -> None:
        """Raise ``InputError`` when ``labels`` holds a value that is neither a class nor ``IGNORE``."""
        unknown = sorted(set(np.unique(labels).tolist()) - set(self.ids) - {IGNORE})
        if unknown:
            raise InputError(
                f"{where} holds the label value {unknown[0]}, which schema '{self.id}' does not know; "
                f"its classes are {', '.join(f'{c.id} {c.name}' for c in self.classes)}."
            )

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id, "title": self.title, "classes": [c.to_json() for c in self.classes]}
        return own | ({"retired": [c.to_json() for c in self.retired]} if self.retired else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSchema:
        try:
            classes, retired = (
                tuple(LabelClass.from_json(c) for c in part) for part in (data["classes"], data.get("retired", ()))
            )
            return cls(str(data["id"]), str(data.get("title", data["id"])), classes, retired)
        except (KeyError, TypeError) as error:
            raise InputError(f"A label schema needs an id and a list of classes; missing or wrong: {error}.") from None
