"""Masks of other programs brought into a project: what they hold is looked at first, then a person says what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.cells import UNKNOWN
from napari_histoseg.io.masks import WITHOUT_CLASS, About, Mask, guessed_classes, read_mask

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.project import Project
    from napari_histoseg.session.review import Review

_TABLE_ENDINGS = (("_instances", "_cells.csv"), ("", ".csv"), ("", "_cells.csv"))


def look_at_mask(project: Project, image_id: str, path: Path, about: About | None = None) -> Mask:
    """What a file holds; a table of classes that lies beside a map of cells is used.

    Raises
    ------
    InputError
        When the file cannot be read, has another size than the image, or holds nothing.
    """
    shape = project.image(image_id).shape
    mask = read_mask(path, shape, about)
    table = next(
        (
            path.with_name(path.stem.removesuffix(ending) + suffix)
            for ending, suffix in _TABLE_ENDINGS
            if path.stem.endswith(ending) and path.with_name(path.stem.removesuffix(ending) + suffix).is_file()
        ),
        None,
    )
    if mask.about == "cells" and table is not None and [kind.key for kind in mask.kinds] == [WITHOUT_CLASS]:
        return read_mask(path, shape, "cells", table)
    return mask


def chosen_classes(mask: Mask, schema: LabelSchema, chosen: Sequence[str]) -> dict[str, int]:
    """Class id by value, colour or name of a mask: what is clear, and ``chosen`` as "VALUE=CLASS" instead.

    Raises
    ------
    InputError
        When the mask has no such value, the schema no such class, or a text is none of that form.
    """
    classes = guessed_classes(mask, schema)
    keys = {kind.key.casefold(): kind.key for kind in mask.kinds}
    for text in chosen:
        value, sign, name = text.rpartition("=")
        key = keys.get(value.strip().casefold())
        if not sign:
            raise InputError(f"'{text}' does not say which class a value is; write it as VALUE=CLASS, e.g. 3=stroma.")
        if key is None:
            raise InputError(f"'{mask.path}' has no '{value}'; it has {', '.join(keys.values())}.")
        name = name.strip()
        found = schema.by_id(int(name)) if name.isdigit() else None if name == UNKNOWN else schema.by_name(name)
        classes[key] = IGNORE if found is None else found.id
    return classes


def bring_mask(
    project: Project, image_id: str, mask: Mask, classes: Mapping[str, int], *, verified: bool
) -> tuple[Edit | None, tuple[str, ...]]:
    """Take a mask into a project, as a person's word or as a proposal.

    Parameters
    ----------
    project : Project
    image_id : str
    mask : Mask
    classes : mapping of str to int
        Class id by key of the mask's kinds; pixels of the others stay as they are, cells of the others come in
        without a class.
    verified : bool

    Returns
    -------
    Edit or None
        None when nothing changed, and for regions that are proposed.
    tuple of str
        What was done, for the person.
    """
    unclear = [kind for kind in mask.kinds if classes.get(kind.key, IGNORE) == IGNORE]
    if mask.about == "cells":
        return _bring_cells(project, image_id, mask, classes, verified=verified)
    if len(unclear) == len(mask.kinds):
        raise InputError(f"Nothing of '{mask.path.name}' has a class yet; say which class its {_few(mask)} are.")
    edit = project.import_labels(image_id, mask.labels(classes), verified=verified)
    how = "as verified" if verified else "as a proposal that nobody has vouched for"
    count = "" if edit is None else f"{edit.changed} pixels of "
    told = [f"Brought {count}'{mask.path}' in {how} for '{project.image(image_id).name}'."]
    if unclear:
        names = ", ".join(f"{kind.key} ({kind.amount} px)" for kind in unclear)
        told.append(f"Without a class, left as they were: {names}.")
    return edit, (*told, *mask.notes)


def import_mask(
    review: Review, image_id: str, mask: Mask, classes: Mapping[str, int], *, verified: bool
) -> tuple[str, ...]:
    """`bring_mask` into the open project; everybody hears of it."""
    edit, told = bring_mask(review.need_project(), image_id, mask, classes, verified=verified)
    if edit is not None:
        review.tell(edit)
    elif mask.about == "regions" and not verified:
        review.labels_changed.emit(image_id, Box.of_shape(mask.shape))
    return told


def _bring_cells(
    project: Project, image_id: str, mask: Mask, classes: Mapping[str, int], *, verified: bool
) -> tuple[Edit | None, tuple[str, ...]]:
    entry, cells = project.image(image_id), project.cells(image_id)
    stay = 0 if verified else len(cells.persons_ids)
    before, given = len(cells), mask.class_ids(classes)
    edit = project.replace_cells(
        image_id, mask.instances, given, tool="import", origin=Origin.IMPORT, verified=verified
    )
    missing = len(mask.of_cell) - len(given)
    notes = list(mask.notes)
    if missing:
        notes.append(f"Cells without a class: {missing}; name it in a CSV with id,class, or set it by hand.")
    if edit is None:
        return None, (f"'{entry.name}' has the cells of '{mask.path}' already.", *notes)
    how = "as verified" if verified else "which nobody has vouched for"
    replaced = f", in place of {before - stay}" if before > stay else ""
    brought = len(cells) - stay
    told = [f"Brought {brought} cells of '{mask.path}' in for '{entry.name}'{replaced}, {how}."]
    if stay:
        told.append(
            f"Cells that a person placed or vouched for and that stay: {stay}; "
            f"cells of the file that mostly lie on them, left out: {len(mask.of_cell) - brought}."
        )
    return edit, (*told, *notes)


def _few(mask: Mask) -> str:
    return f"values {', '.join(kind.key for kind in mask.kinds[:3])}" if mask.kinds else "values"
