"""Revisions appear whole, never change, and the active one can be moved back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.revision import Revision, RevisionStore


@pytest.fixture
def store(tmp_path: Path) -> RevisionStore:
    return RevisionStore(tmp_path / "revisions")


def publish(store: RevisionStore, model_id: str = "unet", **card: object) -> Revision:
    card = {"verdict": "promoted", "reason": "better", "parent": "starter", "metrics": {"heldout": 0.9}, **card}
    return store.publish(
        model_id, lambda folder: folder.joinpath("weights.safetensors").write_bytes(b"w") and None, card
    )


def test_a_revision_carries_its_card(store: RevisionStore, tmp_path: Path) -> None:
    revision = publish(store, plan={"steps": 50})
    assert (revision.id, revision.model_id, revision.parent) == ("r0001", "unet", "starter")
    assert (revision.verdict, revision.reason, revision.metrics) == ("promoted", "better", {"heldout": 0.9})
    assert revision.card["plan"] == {"steps": 50}
    assert sorted(path.name for path in revision.folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert RevisionStore(tmp_path / "revisions").get("r0001") == revision


def test_revisions_are_listed_in_order_and_by_model(store: RevisionStore) -> None:
    for model_id in ("unet", "spade", "unet"):
        publish(store, model_id)
    assert [revision.id for revision in store.list()] == ["r0001", "r0002", "r0003"]
    assert [revision.id for revision in store.list("unet")] == ["r0001", "r0003"]
    assert store.list("other") == ()


def test_activation_and_rollback(store: RevisionStore, tmp_path: Path) -> None:
    first, second = publish(store), publish(store)
    other = publish(store, "spade")
    assert store.active("unet") is None
    store.activate("unet", first.id)
    store.activate("spade", other.id)
    store.activate("unet", second.id)
    assert RevisionStore(tmp_path / "revisions").active("unet") == second.id
    store.activate("unet", first.id)
    assert (store.active("unet"), store.active("spade")) == (first.id, other.id)
    store.activate("unet", None)
    assert (store.active("unet"), store.active("spade")) == (None, other.id)


def test_only_a_models_own_revisions_can_be_activated(store: RevisionStore) -> None:
    revision = publish(store)
    with pytest.raises(ProjectError, match="no revision 'r0099'; it has r0001"):
        store.activate("unet", "r0099")
    with pytest.raises(ProjectError, match="one of model 'unet', not of 'spade'"):
        store.activate("spade", revision.id)
    assert store.active("spade") is None


def test_a_failure_while_writing_leaves_nothing(store: RevisionStore, tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ProjectError, match=r"could not be saved.*No space left.*The active model is unchanged"):
        store.publish("unet", half, {"verdict": "promoted"})
    with pytest.raises(RuntimeError):
        store.publish("unet", lambda folder: (_ for _ in ()).throw(RuntimeError("stop")), {"verdict": "promoted"})
    with pytest.raises(ProjectError, match="No weights of 'unet' were written"):
        store.publish("unet", lambda folder: None, {"verdict": "promoted"})
    with pytest.raises(ProjectError, match="needs one of the verdicts"):
        publish(store, verdict="perhaps")
    assert store.list() == () and not list((tmp_path / "revisions").iterdir())


def test_unfinished_folders_are_ignored_and_removed(store: RevisionStore, tmp_path: Path) -> None:
    publish(store)
    folder = tmp_path / "revisions"
    (folder / ".incoming-1234").mkdir()
    (folder / ".incoming-1234" / "weights.safetensors").write_bytes(b"half")
    (folder / "r0002").mkdir()
    (folder / "r0002" / "weights.safetensors").write_bytes(b"card lost")
    (folder / "r0003").mkdir()
    (folder / "r0003" / "card.json").write_text((folder / "r0001" / "card.json").read_text())
    assert [revision.id for revision in store.list()] == ["r0001"]
    again = RevisionStore(folder)
    assert not list(folder.glob(".incoming-*"))
    assert publish(again).id == "r0004", "a used number is not used again"


@pytest.mark.parametrize("damage", ["text", "list", "empty", "missing"])
def test_a_damaged_pointer_means_the_models_own_weights(store: RevisionStore, tmp_path: Path, damage: str) -> None:
    revision = publish(store)
    store.activate("unet", revision.id)
    pointer = tmp_path / "revisions" / "active.json"
    content = {"text": "r0001", "list": "[1]", "empty": ""}
    pointer.unlink() if damage == "missing" else pointer.write_text(content[damage])
    assert store.active("unet") is None
    store.activate("unet", revision.id)
    assert json.loads(pointer.read_text()) == {"unet": revision.id}


def test_a_deleted_active_revision_means_the_models_own_weights(store: RevisionStore) -> None:
    revision = publish(store)
    store.activate("unet", revision.id)
    shutil.rmtree(revision.folder)
    assert store.active("unet") is None


def test_reading_only(store: RevisionStore, tmp_path: Path) -> None:
    revision = publish(store)
    reader = RevisionStore(tmp_path / "revisions", read_only=True)
    assert reader.get(revision.id) == revision
    for attempt in (lambda: publish(reader), lambda: reader.activate("unet", None)):
        with pytest.raises(ProjectError, match="reading only"):
            attempt()
