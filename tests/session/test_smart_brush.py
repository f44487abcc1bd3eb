"""The smart brush on a project: new cells, mended ones, and what a model saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.session import Session
from napari_histoseg.session.smart_brush import stroke

WHOLE = Box(0, 0, 160, 200)


def disk(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: WHOLE.y1, : WHOLE.x1]
    return np.asarray(np.hypot(rows - y, columns - x) < radius)


LEFT, RIGHT = disk(80, 60, 18), disk(80, 110, 18)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture
def drawn(session: Session, tmp_path: Path) -> tuple[Session, str]:
    """A project of nuclei with a picture of two violet disks at 0.25 µm per pixel."""
    session.create_project(tmp_path / "a.histoseg", "crchisto")
    pixels = np.where((LEFT | RIGHT)[..., None], (70, 40, 120), (240, 215, 230)).astype(np.float64)
    pixels = ndimage.gaussian_filter(pixels, (1, 1, 0)).astype(np.uint8)
    return session, session.add_image(image_from_array(pixels, name="nuclei", mpp=0.25)).id


def brush(session: Session, image_id: str, mask: NDArray[np.bool_], cell_id: int = 0, takes_away: bool = False) -> None:
    box = Box.of_mask(mask)
    stroke(session, image_id, box, mask[box.slices], cell_id=cell_id, class_id=1, takes_away=takes_away)


def test_a_stroke_or_a_drawn_outline_becomes_the_nucleus(drawn: tuple[Session, str]) -> None:
    session, image_id = drawn
    brush(session, image_id, disk(83, 63, 13))
    cells = session.cells.of(image_id)
    assert iou(cells.instances == 1, LEFT) > 0.9 and cells.origin_of([1])[0] == Origin.PERSON
    brush(session, image_id, disk(80, 108, 22) & ~disk(80, 108, 17))
    assert iou(cells.instances == 2, RIGHT) > 0.9 and cells.class_of([1, 2]).tolist() == [1, 1]
    session.undo(image_id)
    assert cells.ids.tolist() == [1]


def test_a_cell_changes_near_the_stroke_only(drawn: tuple[Session, str]) -> None:
    session, image_id = drawn
    half = LEFT & (np.arange(200) < 60)
    session.cells.draw(image_id, WHOLE, half | disk(80, 40, 12), 1)
    brush(session, image_id, disk(80, 66, 14) & ~disk(80, 40, 20), cell_id=1)
    own = session.cells.of(image_id).instances == 1
    assert (own & LEFT).sum() > 0.93 * LEFT.sum()
    assert (own & disk(80, 40, 12) & ~LEFT)[:, :34].sum() == (disk(80, 40, 12) & ~LEFT)[:, :34].sum()


def test_taking_away_is_as_drawn(drawn: tuple[Session, str]) -> None:
    session, image_id = drawn
    session.cells.draw(image_id, WHOLE, LEFT, 1)
    brush(session, image_id, disk(80, 80, 10), cell_id=1, takes_away=True)
    np.testing.assert_array_equal(session.cells.of(image_id).instances == 1, LEFT & ~disk(80, 80, 10))
    with pytest.raises(InputError, match="no cell to take from"):
        brush(session, image_id, disk(20, 20, 5), takes_away=True)


def test_what_a_model_saw_counts_until_the_project_is_closed(drawn: tuple[Session, str], tmp_path: Path) -> None:
    session, image_id = drawn
    assert session.foreground(image_id, WHOLE) is None
    session.choose_model("haematoxylin_watershed")
    session.segment(image_id)
    assert session._lane.wait(60)
    seen = session.foreground(image_id, Box(80, 50, 90, 70))
    assert seen is not None and seen.shape == (10, 20) and seen.min() > 0.5
    outside = session.foreground(image_id, Box(0, 0, 9, 9))
    assert outside is not None and outside.max() < 0.5
    session.create_project(tmp_path / "b.histoseg", "crchisto")
    assert session.foreground(image_id, WHOLE) is None
