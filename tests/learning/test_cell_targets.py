"""What cells teach, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schemas import CELLULARITY
from napari_histoseg.learning.cell_targets import BORDER_UM, RING_UM, CellTeacher, nucleus_target
from napari_histoseg.learning.finetune import channels_of
from napari_histoseg.learning.snapshot import CARD_KEY, take_snapshot

MODEL = (
    LabelClass(0, "background", "#000000"),
    LabelClass(1, "nucleus", "#0000ff"),
    LabelClass(2, "boundary", "#ff0000"),
)
MPP = 0.5


def test_the_boundary_of_a_nucleus_lies_inside_it_and_parts_it_from_its_neighbour() -> None:
    instances = np.zeros((20, 30), np.int32)
    instances[4:16, 4:14], instances[4:16, 14:24] = 1, 2
    target = nucleus_target(instances, 2)
    assert ((target > 0) == (instances > 0)).all()
    assert (target[4:16, 12:16] == 2).all() and (target[6:14, 6:12] == 1).all() and (target[6:14, 16:22] == 1).all()


def test_labels_get_numbers_that_no_class_of_the_review_has() -> None:
    teacher = CellTeacher.of(CELLULARITY.classes, MODEL)
    names = {c.id: c.name for c in teacher.classes}
    assert len(names) == len(teacher.classes) and teacher.classes[: len(CELLULARITY.classes)] == CELLULARITY.classes
    assert (
        names[int(teacher.inside[3])] == "nucleus"
        and teacher.border is not None
        and names[teacher.border] == "boundary"
    )
    assert names[teacher.background] == "background" and teacher.inside[teacher.background] == teacher.background
    assert (teacher.inside[[1, 2, 3, IGNORE]] == teacher.inside[3]).all(), "one kind of cells: all of them are it"


def test_a_model_of_several_kinds_learns_from_cells_of_its_classes() -> None:
    kinds = (MODEL[0], LabelClass(1, "Lymphocyte", "#00ff00"), LabelClass(2, "alien", "#00ffff"))
    review = (LabelClass(0, "background", "#000000"), LabelClass(4, "T cell", "#00ff00", former=("lymphocyte",)))
    teacher = CellTeacher.of((*review, LabelClass(5, "stroma", "#ffffff")), kinds)
    assert teacher.inside[4] == 4 and teacher.inside[5] == IGNORE and teacher.inside[IGNORE] == IGNORE
    assert teacher.border is None


class Study:
    """35 disks of a model in a project; 1 is accepted, 2 drawn by a person, 3 grown from a point."""

    def __init__(self, folder: Path) -> None:
        self.project = Project.create(folder / "p.histoseg", CELLULARITY)
        pixels = np.zeros((*SHAPE, 3), np.uint8)
        self.image_id = self.project.add_image(image_from_array(pixels, name="tissue", mpp=MPP)).id
        self.project.replace_cells(self.image_id, disks(), {}, tool="model", origin=Origin.MODEL)
        self.teacher = CellTeacher.of(CELLULARITY.classes, MODEL)

    def vouch(self) -> None:
        project, image_id = self.project, self.image_id
        project.verify_cells(image_id, [1])
        for number, origin in ((2, Origin.PERSON), (3, Origin.POINT)):
            box = project.cells(image_id).box_around([number])
            part = project.cells(image_id).instances[box.slices].copy()
            part[4, 4] = 0
            project.edit_cells(image_id, box, part, tool="test", origin=origin, verified=origin is Origin.PERSON)

    def snapshot(self, parent: str | None = None) -> object:
        return take_snapshot(self.project, model_id="unet_nuclei", parent_revision=parent, teacher=self.teacher)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    yield made
    made.project.close()


def test_without_vouched_for_cells_nothing_is_different(study: Study) -> None:
    assert study.snapshot().images == () and study.snapshot().classes == CELLULARITY.classes
    study.project.record(study.image_id, tool="paint", box=Box(0, 0, 4, 4), after=np.ones((4, 4), np.uint8))
    plain = take_snapshot(study.project, model_id="unet_nuclei", parent_revision=None)
    (one,), (other,) = study.snapshot().images, plain.images
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.state, other.state)
    assert study.snapshot().classes == plain.classes


def test_inside_border_and_ring_teach_and_nothing_else_does(study: Study) -> None:
    study.vouch()
    snapshot = study.snapshot()
    (item,) = snapshot.images
    now = study.project.cells(study.image_id).instances
    vouched, others = np.isin(now, [1, 2, 3]), np.isin(now, range(4, 36))
    target = nucleus_target(now, round(BORDER_UM / MPP))
    nucleus, border = study.teacher.inside[3], study.teacher.border
    assert (item.labels[vouched & (target == 1)] == nucleus).all() and (vouched & (target == 1)).any()
    assert (item.labels[vouched & (target == 2)] == border).all()
    assert (item.state[others] == 0).all()
    ring = (item.state > 0) & ~vouched
    assert ring.any() and (item.labels[ring] == study.teacher.background).all()
    assert ndimage.distance_transform_edt(~vouched)[ring].max() <= RING_UM / MPP
    to_vouched, to_others = (ndimage.distance_transform_edt(~mask) for mask in (vouched, others))
    assert (to_vouched[ring] <= to_others[ring]).all(), "what is nearer to another cell says nothing"
    assert [int(item.state[now == k].max()) for k in (1, 2, 3)] == [2, 1, 1]
    channels, notes = channels_of(MODEL, snapshot)
    assert notes == ()
    assert channels[item.labels[vouched]].tolist() == target[vouched].tolist()


def test_painted_labels_teach_beside_the_cells(study: Study) -> None:
    study.vouch()
    study.project.record(study.image_id, tool="paint", box=Box(40, 40, 60, 80), after=np.zeros((20, 40), np.uint8))
    (item,) = study.snapshot().images
    assert (item.labels[40:, 40:] == 0).all() and (item.state[40:, 40:] == 1).all()
    assert item.state[:12, :12].any()


def test_cells_that_an_earlier_round_learned_are_replayed(study: Study) -> None:
    study.vouch()
    first = study.snapshot()
    card = {"verdict": "promoted", "reason": "", CARD_KEY: {"learned_until": first.learned_until, "held_out": []}}

    def write(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(b"x")

    parent = study.project.revisions.publish("unet_nuclei", write, card).id
    study.project.set_class(study.image_id, [9], 1)
    study.project.verify_cells(study.image_id, [3])
    (item,) = study.snapshot(parent).images
    now = study.project.cells(study.image_id).instances
    assert item.learned[np.isin(now, [1, 2])].all()
    assert not item.learned[np.isin(now, [3, 9])].any()
    assert (item.state[now == 9] == 2).all()
