"""Clicks, drags and keys that correcting 100 wrong cells takes, by real mouse and key events in the real window.

The truth is an image of MoNuSeg with classes by size. It goes into a project with mistakes that a seed chooses: classes
that are wrong, neighbours that are one cell, nuclei without a cell and cells without a nucleus. A script then does what
a person would do, on the canvas, with the whole image on screen, so that nothing is spent on finding the way. In the
end the cells are compared with the truth: as many cells, every class right, every cell that was no mistake in shape the
same pixel by pixel, and every mended outline over the truth with an IoU of at least 0.5.

Run under a screen or: xvfb-run -s '-screen 0 1366x768x24' python -m benchmarks.correct_cells [--data DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOW_MANY = {"wrong class": 40, "two as one": 25, "missing, by a point": 10, "missing, by a loop": 10, "false": 15}
LEAST_IOU = 0.5
RIM_PX = 30
LEAST_PX = 120
MISSING = ("missing, by a point", "missing, by a loop")


@dataclass
class Mistakes:
    """What is wrong in ``instances``, by kind.

    Parameters
    ----------
    truth, instances : ndarray of uint32, shape (H, W)
        Numbers of the nuclei, and of the cells with the mistakes.
    classes, given : dict of int to int
        Class ids by number, in truth and with the mistakes.
    of_kind : dict of str to list of tuple of int
        Numbers in truth that are concerned; of false cells the number in ``instances``.
    """

    truth: NDArray[np.uint32]
    instances: NDArray[np.uint32]
    classes: dict[int, int]
    given: dict[int, int]
    of_kind: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
    from benchmarks.real_nuclei import samples
    from napari_histoseg.core.image import image_from_array
    from napari_histoseg.core.schemas import CELLULARITY

    rng = np.random.default_rng(arguments.seed)
    for item in samples(arguments.data, "monuseg"):
        if item.instances is None:
            continue
        mistakes = make_mistakes(np.array(item.instances, np.uint32), list(CELLULARITY.ids[1:]), rng)
        if mistakes is not None:
            image = image_from_array(np.array(item.image), name=str(item.facts["key"]), mpp=float(item.facts["mpp"]))
            return correct(image, mistakes)
    raise RuntimeError(f"No image in {arguments.data} has enough nuclei and pairs.")


def make_mistakes(truth: NDArray[np.uint32], class_ids: list[int], rng: np.random.Generator) -> Mistakes | None:
    """The mistakes of one image; None when it has too few nuclei or pairs of them."""
    sizes = np.bincount(truth.ravel())
    ids = np.flatnonzero(sizes[1:]) + 1
    bounds = np.quantile(sizes[ids], np.linspace(0, 1, len(class_ids) + 1)[1:-1])
    classes = {int(k): class_ids[int(np.searchsorted(bounds, sizes[k]))] for k in ids}
    rim = np.ones(truth.shape, bool)
    rim[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = False
    at_rim = set(np.unique(truth[rim]).tolist())
    free = [int(k) for k in rng.permutation(ids) if k not in at_rim and sizes[k] >= LEAST_PX]
    pairs = touching_pairs(truth, set(free), rng)[: HOW_MANY["two as one"]]
    in_pairs = {k for pair in pairs for k in pair}
    free = [k for k in free if k not in in_pairs]
    if len(pairs) < HOW_MANY["two as one"] or len(free) < sum(HOW_MANY[kind] for kind in ("wrong class", *MISSING)):
        return None
    made = Mistakes(truth, truth.copy(), classes, dict(classes), {"two as one": pairs})
    missing = apart(truth, free)
    for kind in MISSING:
        made.of_kind[kind] = alone(missing[: HOW_MANY[kind]])
        missing = missing[HOW_MANY[kind] :]
    taken = {numbers[0] for kind in MISSING for numbers in made.of_kind[kind]}
    made.of_kind["wrong class"] = alone([k for k in free if k not in taken][: HOW_MANY["wrong class"]])
    for (k,) in made.of_kind["wrong class"]:
        made.given[k] = int(rng.choice([c for c in class_ids if c != classes[k]]))
    for one, other in pairs:
        made.instances[truth == other] = one
    for kind in MISSING:
        for (k,) in made.of_kind[kind]:
            made.instances[truth == k] = 0
    made.of_kind["false"] = add_false(made, int(ids.max()) + 1, class_ids, rng)
    made.given = {k: c for k, c in made.given.items() if (made.instances == k).any()}
    return made


def alone(numbers: list[int]) -> list[tuple[int, ...]]:
    """Mistakes that concern one nucleus each."""
    return [(number,) for number in numbers]


def apart(truth: NDArray[np.uint32], free: list[int]) -> list[int]:
    """Those of the nuclei, taken in their order, of which none touches another one taken."""
    from scipy import ndimage

    found: list[int] = []
    for k in free:
        around = np.unique(truth[ndimage.binary_dilation(truth == k, iterations=4)])
        if not set(around.tolist()) & set(found):
            found.append(k)
    return found


def touching_pairs(truth: NDArray[np.uint32], free: set[int], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Pairs of nuclei, none of them in two pairs, that touch along ten pixels at least."""
    beside: Counter[tuple[int, int]] = Counter()
    for one, other in ((truth[1:], truth[:-1]), (truth[:, 1:], truth[:, :-1])):
        meet = (one != other) & (one > 0) & (other > 0)
        both = np.sort(np.stack([one[meet], other[meet]], axis=1).astype(np.int64), axis=1)
        beside.update((int(a), int(b)) for a, b in both)
    found: list[tuple[int, ...]] = []
    used = set[int]()
    for a, b in rng.permutation([pair for pair, length in sorted(beside.items()) if length >= 10]).tolist():
        if {a, b} <= free and not {a, b} & used:
            found.append((a, b))
            used |= {a, b}
    return found


def add_false(made: Mistakes, first: int, class_ids: list[int], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Round cells where no nucleus is; their numbers."""
    from scipy import ndimage

    numbers: list[tuple[int, ...]] = []
    yy, xx = np.indices(made.truth.shape)
    while len(numbers) < HOW_MANY["false"]:
        away = ndimage.distance_transform_edt((made.instances == 0) & (made.truth == 0))
        places = np.argwhere(away[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] > 12) + RIM_PX
        y, x = places[rng.integers(len(places))]
        number = first + len(numbers)
        made.instances[np.hypot(yy - y, xx - x) <= 9] = number
        made.given[number] = int(rng.choice(class_ids))
        numbers.append((number,))
    return numbers


def correct(image: Any, mistakes: Mistakes) -> int:
    """Correct everything in the window and tell what it took."""
    from napari_histoseg.core.box import Box
    from napari_histoseg.core.cell_patch import Origin
    from napari_histoseg.core.schemas import CELLULARITY
    from napari_histoseg.plugin import open_window
    from napari_histoseg.widgets.parts.pump import wait_until

    bench = open_window()
    bench.viewer.window.resize(1366, 768)
    project = bench.session.create_project(Path(tempfile.mkdtemp()) / "correct.histoseg", CELLULARITY.id)
    bench.bridge.images.open(image)
    image_id = bench.bridge.images.current or ""
    project.replace_cells(image_id, mistakes.instances, mistakes.given, tool="made wrong", origin=Origin.MODEL)
    bench.session.cells.changed.emit(image_id, Box.of_shape(image.shape))
    bench.bridge.cells.set_mode("select")
    wait_until(lambda: False, 1.0)
    person = Person(bench, image_id, mistakes)
    for kind, number in HOW_MANY.items():
        person.done.clear()
        for numbers in person.in_order(kind):
            person.correct(kind, numbers)
        told = ", ".join(f"{person.done[what] / number:.2f} {what}" for what in ("clicks", "drags", "keys"))
        print(f"{number} of '{kind}': {told} for each")
    edits = len(project.edits()) - 1
    is_good = compare(np.asarray(bench.session.cells.of(image_id).instances), person.classes(), mistakes)
    total = person.total
    print(
        f"{sum(HOW_MANY.values())} corrections: {total['clicks']} clicks, {total['drags']} drags, "
        f"{total['keys']} keys; {edits} steps that undo takes back"
    )
    print(f"the cells are those of the truth: {'ok' if is_good else 'NOT MET'}")
    bench.close()
    bench.viewer.close()
    return 0 if is_good else 1


class Person:
    """Corrects cells by events on the canvas and counts them; knows the truth as a pathologist would."""

    def __init__(self, bench: Any, image_id: str, mistakes: Mistakes) -> None:
        self._bench = bench
        self._image_id = image_id
        self._mistakes = mistakes
        self._canvas = bench.viewer.window._qt_viewer.canvas.native
        self._letters = {c.id: str(c.key) for c in bench.session.project.schema.classes}
        self._rng = np.random.default_rng(7)
        self.done: Counter[str] = Counter()
        self.total: Counter[str] = Counter()

    def classes(self) -> NDArray[np.uint8]:
        """Class id at each pixel, as the project has it now."""
        cells = self._bench.session.cells.of(self._image_id)
        return np.asarray(cells.class_lookup[cells.instances])

    def in_order(self, kind: str) -> list[tuple[int, ...]]:
        """The mistakes of a kind; missing nuclei class by class, as the class of new cells is chosen once."""
        found = self._mistakes.of_kind[kind]
        return sorted(found, key=lambda k: self._mistakes.classes[k[0]]) if kind in MISSING else found

    def correct(self, kind: str, numbers: tuple[int, ...]) -> None:
        """Correct one mistake."""
        if kind == "wrong class":
            self._mode("select", "Escape")
            self._point(self._middle(self._mistakes.truth == numbers[0]))
            self._key(self._letters[self._mistakes.classes[numbers[0]]].upper())
        elif kind == "false":
            self._mode("select", "Escape")
            self._point(self._middle(self._mistakes.instances == numbers[0]))
            self._key("Delete")
        elif kind == "two as one":
            self._mode("split", "X", shift=True)
            self._drag(self._cut(*numbers))
            for number in numbers:
                self._class_if_wrong(number)
        elif kind == "missing, by a point":
            self._mode("points", "P", shift=True)
            self._choose_class(numbers[0])
            self._drag([self._middle(self._mistakes.truth == numbers[0])])
            self._again_if_poor(numbers[0])
        else:
            self._mode("snap", "S", shift=True)
            self._choose_class(numbers[0])
            self._drag(self._loop(numbers[0]))
            self._again_if_poor(numbers[0])

    def _choose_class(self, number: int) -> None:
        """Press the letter of the class that a missing nucleus has, over it, unless it is that of new cells already."""
        wanted = self._mistakes.classes[number]
        if self._bench.bridge.tools.class_id != wanted:
            self._point(self._middle(self._mistakes.truth == number))
            self._key(self._letters[wanted].upper())

    def _again_if_poor(self, number: int) -> None:
        """Take a new outline back that fits badly, and draw a loop instead, at most twice."""
        for depth_px in (4, 6):
            if self._fit(number) >= LEAST_IOU:
                return
            self._key("Z", control=True)
            self._mode("snap", "S", shift=True)
            self._drag(self._loop(number, depth_px))

    def _fit(self, number: int) -> float:
        """IoU of a nucleus with the cell at its middle."""
        nucleus = self._mistakes.truth == number
        y, x = self._middle(nucleus)
        found = self._bench.session.cells.at(self._image_id, y, x)
        cell = self._bench.session.cells.of(self._image_id).instances == found
        return float((cell & nucleus).sum() / (cell | nucleus).sum()) if found else 0.0

    def _class_if_wrong(self, number: int) -> None:
        """Press the letter over a cell that has another class."""
        middle = self._middle(self._mistakes.truth == number)
        y, x = round(middle[0]), round(middle[1])
        wanted = self._mistakes.classes[number]
        if self._bench.session.cells.at(self._image_id, y, x) and int(self.classes()[y, x]) != wanted:
            self._point(middle)
            self._key(self._letters[wanted].upper())

    # -- where to go -----------------------------------------------------------------------------------------------

    @staticmethod
    def _middle(mask: NDArray[np.bool_]) -> tuple[float, float]:
        """The place that lies deepest in a shape."""
        from scipy import ndimage

        depth = ndimage.distance_transform_edt(mask)
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        return float(y), float(x)

    def _cut(self, one: int, other: int) -> list[tuple[float, float]]:
        """Three corners of a line along the border of two nuclei, from outside to outside."""
        from scipy import ndimage

        truth = self._mistakes.truth
        border = (truth == one) & ndimage.binary_dilation(truth == other, iterations=1)
        places = np.argwhere(border).astype(np.float64)
        middle = places.mean(axis=0)
        direction = np.linalg.svd(places - middle)[2][0]
        along = (places - middle) @ direction
        low, high = (middle + direction * reach for reach in (along.min() - 5, along.max() + 5))
        return [(float(y), float(x)) for y, x in (low, places[np.abs(along).argmin()], high)]

    def _loop(self, number: int, depth_px: float = 3) -> list[tuple[float, float]]:
        """A loop along the inner side of a nucleus, so far inside, as sloppy as a hand."""
        from scipy import ndimage
        from skimage.measure import find_contours

        depth = ndimage.distance_transform_edt(self._mistakes.truth == number)
        contour = max(find_contours(depth, min(depth_px, 0.7 * float(depth.max()))), key=len)
        corners = contour[np.linspace(0, len(contour) - 1, 24).astype(int)]
        return [(float(y), float(x)) for y, x in corners + self._rng.normal(0, 0.7, corners.shape)]

    # -- events ----------------------------------------------------------------------------------------------------

    def _mode(self, name: str, key: str, *, shift: bool = False) -> None:
        """Take up a mode by its key; nothing when it is in the hand already."""
        while self._bench.bridge.cells.mode != name:
            self._key(key, shift=shift)

    def _count(self, what: str) -> None:
        self.done[what] += 1
        self.total[what] += 1

    def _at(self, place: tuple[float, float]) -> Any:
        from qtpy.QtCore import QPoint

        camera = self._bench.viewer.scene.camera
        world = np.array(self._bench.bridge.images.source.data_to_world(place))
        offset = (world - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self._canvas.width() / 2 + offset[1]), round(self._canvas.height() / 2 + offset[0]))

    def _point(self, place: tuple[float, float]) -> None:
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        QTest.mouseMove(self._canvas, self._at(place))
        QApplication.processEvents()

    def _drag(self, places: list[tuple[float, float]]) -> None:
        """Press at the first place, let go at the last; a click when there is only one."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        button, held = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        self._point(places[0])
        QTest.mousePress(self._canvas, button, held, self._at(places[0]))
        for place in places[1:]:
            self._point(place)
        QTest.mouseRelease(self._canvas, button, held, self._at(places[-1]))
        QApplication.processEvents()
        self._count("drags" if len(places) > 1 else "clicks")

    def _key(self, name: str, *, shift: bool = False, control: bool = False) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        held = Qt.KeyboardModifier.NoModifier
        if shift:
            held |= Qt.KeyboardModifier.ShiftModifier
        if control:
            held |= Qt.KeyboardModifier.ControlModifier
        QTest.keyClick(self._canvas, getattr(Qt.Key, f"Key_{name}"), held)
        QApplication.processEvents()
        self._count("keys")


def compare(found: NDArray[np.uint32], classes: NDArray[np.uint8], mistakes: Mistakes) -> bool:
    """Tell how near the cells are to the truth, and whether that is near enough."""
    truth = mistakes.truth
    mended = {k for kind in ("two as one", *MISSING) for numbers in mistakes.of_kind[kind] for k in numbers}
    ious: dict[str, list[float]] = {}
    wrong_class, changed = 0, 0
    for k, class_id in mistakes.classes.items():
        nucleus = truth == k
        under = found[nucleus]
        best = int(np.bincount(under[under > 0]).argmax()) if (under > 0).any() else 0
        cell = found == best if best else np.zeros(found.shape, bool)
        iou = float((cell & nucleus).sum() / (cell | nucleus).sum())
        wrong_class += int(not best or int(np.bincount(classes[nucleus & cell]).argmax()) != class_id)
        changed += int(k not in mended and iou < 1)
        for kind in ("two as one", *MISSING):
            if any(k in numbers for numbers in mistakes.of_kind[kind]):
                ious.setdefault(kind, []).append(iou)
    for kind, values in ious.items():
        print(f"outlines of '{kind}': IoU with the truth {np.mean(values):.2f} on average, {min(values):.2f} at least")
    count = len(np.unique(found[found > 0]))
    print(
        f"{count} cells for {len(mistakes.classes)} nuclei, {wrong_class} with a wrong class, "
        f"{changed} changed in shape that were right"
    )
    is_near = all(min(values) >= LEAST_IOU for values in ious.values())
    return count == len(mistakes.classes) and not wrong_class and not changed and is_near


if __name__ == "__main__":
    sys.exit(main())
