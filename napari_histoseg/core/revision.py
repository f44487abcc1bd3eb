"""Trained models of a project: immutable folders, and a pointer to the one in use."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from napari_histoseg.core.atomic import TEMPORARY_MARK, publish_folder, write_json
from napari_histoseg.core.errors import ProjectError

Verdict = Literal["promoted", "refused", "starter"]
VERDICTS: tuple[Verdict, ...] = ("promoted", "refused", "starter")

_CARD = "card.json"
_POINTER = "active.json"


@dataclass(frozen=True)
class Revision:
    """One set of weights that came out of fine-tuning.

    Parameters
    ----------
    id : str
        Unique in the project, e.g. ``"r0003"``; later ones sort later.
    model_id : str
    parent : str or None
        Revision or name of the weights it started from.
    created_at : float
        Unix time in seconds.
    verdict : {"promoted", "refused", "starter"}
    reason : str
        Why, in a sentence.
    metrics : dict
        Numbers before and after, as the gate gave them.
    card : dict
        Everything that was written down at publication.
    folder : Path
        Where the weights lie.
    """

    id: str
    model_id: str
    parent: str | None
    created_at: float
    verdict: Verdict
    reason: str
    metrics: Mapping[str, Any]
    card: Mapping[str, Any]
    folder: Path


class RevisionStore:
    """Revisions of a project.

    Parameters
    ----------
    folder : Path
        Holds one folder per revision and the pointer file; created at the first write.
    read_only : bool
        Refuse to publish and to activate.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only
        if not read_only:
            self._clean()

    def list(self, model_id: str | None = None) -> tuple[Revision, ...]:
        """All whole revisions (of one model), the oldest first; folders without a readable card are left out."""
        cards = sorted(self._folder.glob(f"r*/{_CARD}"))
        found = (revision for path in cards if (revision := _read(path.parent)) is not None)
        return tuple(revision for revision in found if model_id in (None, revision.model_id))

    def get(self, revision_id: str) -> Revision:
        """The revision of that id.

        Raises
        ------
        ProjectError
            When there is none; the sentence names those that exist.
        """
        revisions = {revision.id: revision for revision in self.list()}
        if revision_id not in revisions:
            known = f"it has {', '.join(revisions)}" if revisions else "it has none yet"
            raise ProjectError(f"The project has no revision '{revision_id}'; {known}.")
        return revisions[revision_id]

    def publish(self, model_id: str, write_weights: Callable[[Path], None], card: Mapping[str, Any]) -> Revision:
        """Add a revision; it appears by one rename, whole, or not at all.

        Parameters
        ----------
        model_id : str
        write_weights : callable
            Given an empty folder, writes the weight files into it; must not write ``card.json``.
        card : mapping
            JSON; ``parent``, ``verdict``, ``reason`` and ``metrics`` are understood, everything is kept.

        Raises
        ------
        ProjectError
            When the project is read-only, the disk is full, the verdict is unknown or nothing was written.
        """
        self._require_writable()
        if card.get("verdict") not in VERDICTS:
            raise ProjectError(
                f"A revision needs one of the verdicts {', '.join(VERDICTS)}, not {card.get('verdict')}."
            )
        temporary = self._folder / f"{TEMPORARY_MARK}{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(exist_ok=True)
            temporary.mkdir()
            write_weights(temporary)
            if not any(temporary.iterdir()):
                raise ProjectError(f"No weights of '{model_id}' were written, so there is no revision to keep.")
            revision_id = self._next_id()
            full = {**card, "id": revision_id, "model_id": model_id, "created_at": time.time()}
            write_json(temporary / _CARD, full)
            publish_folder(temporary, self._folder / revision_id)
        except OSError as error:
            raise ProjectError(
                f"The new revision could not be saved in '{self._folder}' ({error.strerror}); free some disk space "
                "and retrain. The active model is unchanged."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self.get(revision_id)

    def active(self, model_id: str) -> str | None:
        """Id of the revision of a model that is in use; None when the model's own weights are."""
        revision_id = self._pointer().get(model_id)
        if revision_id is None or _read(self._folder / revision_id) is None:
            return None
        return revision_id

    def activate(self, model_id: str, revision_id: str | None) -> None:
        """Use a revision, or with None the model's own weights, from now on; also the way back.

        Raises
        ------
        ProjectError
            When the revision does not exist or belongs to another model, or nothing can be written.
        """
        self._require_writable()
        if revision_id is not None and (owner := self.get(revision_id).model_id) != model_id:
            raise ProjectError(f"Revision '{revision_id}' is one of model '{owner}', not of '{model_id}'.")
        pointer = {**self._pointer(), model_id: revision_id}
        try:
            self._folder.mkdir(exist_ok=True)
            write_json(self._folder / _POINTER, {key: value for key, value in pointer.items() if value is not None})
        except OSError as error:
            raise ProjectError(
                f"The active model could not be changed in '{self._folder}' ({error.strerror}); free some disk space "
                "and try again. The earlier model stays active."
            ) from error

    def _pointer(self) -> dict[str, str]:
        """Active revisions by model; empty when the file is missing or damaged."""
        try:
            pointer = json.loads((self._folder / _POINTER).read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in pointer.items()} if isinstance(pointer, dict) else {}

    def _next_id(self) -> str:
        taken = [int(path.name[1:]) for path in self._folder.glob("r*") if path.name[1:].isdigit()]
        return f"r{max(taken, default=0) + 1:04d}"

    def _clean(self) -> None:
        """Remove what a killed process left unfinished."""
        for path in self._folder.glob(f"{TEMPORARY_MARK}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _require_writable(self) -> None:
        if self._read_only:
            raise ProjectError(
                f"The project '{self._folder.parent}' is open for reading only, so its models cannot be changed; "
                "copy the folder to a place you can write to and open it there."
            )


def _read(folder: Path) -> Revision | None:
    """The revision in a folder, or None when it is not whole."""
    try:
        card = json.loads((folder / _CARD).read_bytes())
        if card["verdict"] not in VERDICTS or not any(path.name != _CARD for path in folder.iterdir()):
            return None
        return Revision(
            id=folder.name,
            model_id=str(card["model_id"]),
            parent=card.get("parent"),
            created_at=float(card["created_at"]),
            verdict=cast(Verdict, card["verdict"]),
            reason=str(card.get("reason", "")),
            metrics=card.get("metrics", {}),
            card=card,
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
