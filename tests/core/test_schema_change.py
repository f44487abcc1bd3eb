"""Classes that are added, renamed, recoloured and taken out while labels and cells carry them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks, hurried
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_change import SchemaEditing
from napari_histoseg.core.schema_steps import CLASS_KEYS, AddClass, AlterClass, RemoveClass, SchemaStep
from napari_histoseg.core.schemas import CELLULARITY, SCHEMAS

LYMPHOCYTE, NORMAL, MALIGNANT = 1, 2, 3
WHOLE = Box.of_shape(SHAPE)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), np.uint8)


def filled(project: Project, image_id: str, class_id: int, box: Box) -> None:
    assert project.record(image_id, tool="paint", box=box, after=np.full(box.shape, class_id, np.uint8))


@pytest.fixture
def study(tmp_path: Path) -> Project:
    """Two images: cells of all classes, strokes and model output on the first, only a normal stroke on the second."""
    project = Project.create(tmp_path / "study.histoseg", CELLULARITY)
    one, two = (project.add_image(image_from_array(picture(k), name=f"{k}", mpp=0.5)).id for k in range(2))
    run = project.begin_run(one, model="unet", revision=None, box=WHOLE)
    proposal = np.tile(np.arange(SHAPE[1], dtype=np.uint8) % 4, (SHAPE[0], 1))
    project.propose(one, WHOLE, proposal, run_id=run)
    project.end_run(run, "done")
    filled(project, one, LYMPHOCYTE, Box(0, 0, 20, 20))
    filled(project, one, MALIGNANT, Box(10, 10, 30, 30))
    project.accept(one, Box(40, 40, 60, 60))
    instances = disks()
    classes = {k: k % 4 for k in range(1, int(instances.max()) + 1)}
    project.replace_cells(one, instances, classes, tool="import", origin=Origin.IMPORT)
    filled(project, two, NORMAL, Box(0, 0, 9, 9))
    return project


def everything(project: Project) -> dict[str, np.ndarray]:
    """A copy of all that a person vouched for."""
    found = {}
    for entry in project.images:
        planes, cells = project.planes(entry.id), project.cells(entry.id)
        found |= {
            f"{entry.id} labels": planes.labels.copy(),
            f"{entry.id} state": planes.state.copy(),
            f"{entry.id} instances": cells.instances.copy(),
            f"{entry.id} rows": cells.rows(cells.ids),
        }
    return found


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def reopened(project: Project) -> Project:
    project.close()
    return Project.open(project.path)


def test_free_changes_last(study: Project) -> None:
    before = everything(study)
    outcome = study.change_schema(
        [
            AddClass("mitosis"),
            AlterClass(MALIGNANT, name="tumour cell", color="#123456", key="h"),
            AlterClass(NORMAL, key=""),
        ],
        author="anna",
    )
    assert not outcome.edits and len(outcome.told) == 5
    study = reopened(study)
    made = study.schema.by_name("mitosis")
    assert made.id == 4 and made.key in CLASS_KEYS and made.color not in {c.color for c in CELLULARITY.classes}
    malignant = study.schema.by_id(MALIGNANT)
    assert (malignant.name, malignant.color, malignant.key) == ("tumour cell", "#123456", "h")
    assert study.schema.by_id(NORMAL).key is None
    assert study.schema.by_name("malignant").id == MALIGNANT, "files and models still say the old name"
    assert study.schema.crosswalk(CELLULARITY.classes)[:4].tolist() == [0, 1, 2, 3]
    assert [note.author for note in study.schema_notes] == ["anna"] * 5
    assert_same(everything(study), before)
    study.close()


def test_two_classes_swap_their_keys_and_names(study: Project) -> None:
    study.change_schema([AlterClass(NORMAL, name="malignant", key="t"), AlterClass(MALIGNANT, name="normal", key="r")])
    names = {c.id: (c.name, c.key, c.former) for c in study.schema.classes}
    assert names[NORMAL] == ("malignant", "t", ("normal",)) and names[MALIGNANT] == ("normal", "r", ("malignant",))
    assert study.schema.crosswalk(CELLULARITY.classes)[:4].tolist() == [0, 1, 3, 2], "by the names of today first"
    study.close()


def test_keys_of_built_in_classes_may_be_given() -> None:
    assert {c.key for schema in SCHEMAS.values() for c in schema.classes} - {None} <= set(CLASS_KEYS)


@pytest.mark.parametrize("to", [NORMAL, IGNORE])
def test_a_class_leaves(study: Project, to: int) -> None:
    one, two = (entry.id for entry in study.images)
    if not len(study.cells(one)):
        one, two = two, one
    before = everything(study)
    labels, cells, proposal = study.planes(one).labels.copy(), study.cells(one), study.planes(one).proposal.copy()
    ids = cells.ids
    was = cells.class_of(ids)
    carried = study.carried(MALIGNANT)
    assert carried.cells == int((was == MALIGNANT).sum()) > 0 and carried.images == 1
    assert carried.pixels == int((study.planes(one).displayed() == MALIGNANT).sum()) > 0
    outcome = study.change_schema([RemoveClass(MALIGNANT, to)])
    assert {edit.image_id for edit in outcome.edits} == {one} and len(outcome.edits) == 2
    for project in (study, reopened(study)):
        assert MALIGNANT not in project.schema
        planes = project.planes(one)
        np.testing.assert_array_equal(planes.labels, np.where(labels == MALIGNANT, to, labels))
        np.testing.assert_array_equal(planes.labels == IGNORE, planes.state == 0)
        np.testing.assert_array_equal(planes.proposal, np.where(proposal == MALIGNANT, to, proposal))
        np.testing.assert_array_equal(project.cells(one).class_of(ids), np.where(was == MALIGNANT, to, was))
        assert project.carried(MALIGNANT).pixels == project.carried(MALIGNANT).cells == 0
    assert project.undo(one) and project.undo(one)
    assert project.schema.by_id(MALIGNANT).name == "malignant", "what comes back brings its class back"
    assert_same(everything(project), before)
    again = reopened(project)
    assert_same(everything(again), before)
    assert again.schema.by_id(MALIGNANT).name == "malignant"
    assert "is back" in again.schema_notes[-1].told
    again.close()


def test_a_model_that_knows_the_old_class_still_fits(study: Project) -> None:
    study.change_schema([RemoveClass(MALIGNANT, NORMAL)])
    assert study.schema.crosswalk(CELLULARITY.classes)[MALIGNANT] == NORMAL
    one = study.images[0].id
    run = study.begin_run(one, model="unet", revision=None, box=WHOLE)
    study.propose(one, WHOLE, np.full(SHAPE, MALIGNANT, np.uint8), run_id=run)  # begun before the class left
    assert (study.planes(one).proposal == NORMAL).all()
    study.change_schema([RemoveClass(NORMAL, LYMPHOCYTE)])
    assert study.schema.crosswalk(CELLULARITY.classes)[:4].tolist() == [0, 1, 1, 1]
    study.close()


def test_ids_and_what_was_asked_to_stay(study: Project) -> None:
    outcome = study.change_schema([RemoveClass(MALIGNANT)])
    assert MALIGNANT in study.schema and "stays" in outcome.told[0]
    study.change_schema([AddClass("new"), RemoveClass(4)])
    assert 4 not in study.schema, "nothing carried it"
    study.change_schema([AddClass("newer")])
    assert study.schema.by_name("newer").id == 5, "a number is never used twice"
    study.close()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (AddClass("Malignant"), "two classes"),
        (AddClass("  "), "needs a name"),
        (AddClass("x", key="e"), "cannot be the key"),
        (AddClass("x", key="q"), "two classes with the key"),
        (AddClass("x", color="red"), "#rrggbb"),
        (AlterClass(77, name="x"), "no class"),
        (RemoveClass(MALIGNANT, 77), "no class"),
        (RemoveClass(MALIGNANT, MALIGNANT), "into itself"),
    ],
)
def test_refused(study: Project, step: SchemaStep, words: str) -> None:
    before, schema = everything(study), study.schema
    with pytest.raises(InputError, match=words):
        study.change_schema([AddClass("first"), step])
    assert study.schema == schema and not study.schema_notes
    assert_same(everything(study), before)
    study.close()


def test_nothing_or_all(study: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = everything(study), len(study.edits())

    def full(*_: object) -> None:
        raise ProjectError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(study._journal, "put_setting", full)
        with pytest.raises(ProjectError):
            study.change_schema([RemoveClass(MALIGNANT, NORMAL)])
    assert MALIGNANT in study.schema and len(study.edits()) == rows
    assert_same(everything(study), before)
    study = reopened(study)
    assert MALIGNANT in study.schema
    assert_same(everything(study), before)
    study.close()


def test_killed_before_the_project_file_is_written(study: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (study.path / "project.json").read_bytes()
    study.change_schema([RemoveClass(MALIGNANT, NORMAL)])
    wanted = everything(study)
    study.close()
    (study.path / "project.json").write_bytes(old)
    with Project.open(study.path, read_only=True) as looked_at:
        assert MALIGNANT not in looked_at.schema
    with Project.open(study.path) as opened:
        assert MALIGNANT not in opened.schema and not opened.notes
        assert_same(everything(opened), wanted)
    assert json.loads((study.path / "project.json").read_bytes())["schema"]["retired"][0]["name"] == "malignant"


def test_read_only(study: Project) -> None:
    study.close()
    with Project.open(study.path, read_only=True) as opened, pytest.raises(ProjectError, match="reading only"):
        opened.change_schema([AddClass("x")])


def test_a_class_that_comes_back_gives_way(study: Project) -> None:
    one = next(entry.id for entry in study.images if len(study.cells(entry.id)))
    study.change_schema([RemoveClass(MALIGNANT, NORMAL), AddClass("malignant", key="t")])
    study.undo(one)
    names = {c.id: (c.name, c.key) for c in study.schema.classes}
    assert names[4] == ("malignant", "t") and names[MALIGNANT] == ("malignant (before)", None)
    study.close()


def test_every_class_of_one_name_comes_back(study: Project) -> None:
    one, corner = study.images[0].id, Box(0, 0, 4, 4)
    was = study.schema.by_id(MALIGNANT).name
    labels = study.planes(one).labels.copy()
    study.change_schema([RemoveClass(MALIGNANT, NORMAL)])
    study.change_schema([AddClass(was)])
    again = study.schema.by_name(was).id
    filled(study, one, again, corner)
    study.change_schema([RemoveClass(again, NORMAL)])
    study.change_schema([AddClass(was)])
    while study.undo(one):
        if np.array_equal(study.planes(one).labels, labels):
            break
    np.testing.assert_array_equal(study.planes(one).labels, labels)
    assert {MALIGNANT, again} <= set(study.schema.ids)
    study.close()


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("paint"), st.integers(0, 3), st.integers(0, 40)),
        st.tuples(st.just("class"), st.integers(0, 3), st.integers(1, 30)),
        st.tuples(st.just("remove"), st.integers(0, 3), st.sampled_from([0, 1, 2, 3, IGNORE])),
        st.tuples(st.sampled_from(["undo", "redo", "open"]), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(acts=ACTS)
def test_undo_all_and_redo_all_across_schemas(
    acts: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = hurried(Project.create(tmp_path_factory.mktemp("any") / "p", CELLULARITY))
    image_id = project.add_image(image_from_array(picture(), name="p", mpp=0.5)).id
    start = everything(project)
    project.replace_cells(image_id, disks(), {}, tool="import", origin=Origin.IMPORT)
    for act, class_id, value in acts:
        if act == "open":
            wanted, schema = everything(project), project.schema
            project = hurried(reopened(project))
            assert project.schema == schema
            assert_same(everything(project), wanted)
        elif act in ("undo", "redo"):
            getattr(project, act)(image_id)
        elif class_id not in project.schema:
            continue
        elif act == "paint":
            project.record(
                image_id, tool="paint", box=Box(value, 0, value + 9, 9), after=np.full((9, 9), class_id, np.uint8)
            )
        elif act == "class":
            if value not in project.cells(image_id):  # its coming in was taken back
                continue
            project.set_class(image_id, [value], class_id)
        elif value in (*project.schema.ids, IGNORE) and value != class_id and len(project.schema.classes) > 1:
            project.change_schema([RemoveClass(class_id, value)])
    end = everything(project)
    steps = 0
    while project.undo(image_id):
        steps += 1
    known = {*project.schema.ids, IGNORE}
    assert set(np.unique(project.planes(image_id).labels).tolist()) <= known
    assert_same(everything(project), start)
    for _ in range(steps):
        project.redo(image_id)
    assert_same(everything(project), end)
    project.close()


def test_schema_without_changes_is_written_as_before() -> None:
    assert LabelSchema.from_json(CELLULARITY.to_json()) == CELLULARITY
    assert "retired" not in CELLULARITY.to_json() and "former" not in CELLULARITY.to_json()["classes"][0]
    assert issubclass(Project, SchemaEditing)
