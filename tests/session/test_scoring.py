"""Scores of fields in the background, beside what the labels say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tissue import tissue

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.session import JobStatus, Session
from napari_histoseg.session.scoring import ImageScores, ScoredField

MODEL = "cellularity_resnet101"
TUMOR, STROMA = BCSS5.by_name("tumor").id, BCSS5.by_name("stroma").id


class Brightness:
    """In place of a network: the score is the mean of the pixels."""

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(batch.mean(axis=(1, 2, 3)) / 255, np.float32)


def picture(height: int = 700, width: int = 1024) -> ImageRef:
    """Blotchy tissue, white in its lower right corner, at the model's own 0.5 µm per pixel."""
    pixels = np.array(np.tile(tissue(256), (4, 4, 1))[:height, :width])
    pixels[512:, 512:] = 255
    return image_from_array(pixels, name="slide", mpp=0.5)


def wait(session: Session) -> None:
    assert session._lane.wait(60), "the lane did not become idle"


@pytest.fixture
def scoring(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Session, str]:
    """A project of breast regions with a picture and a model that gives scores at once."""
    monkeypatch.setattr(session._predictors, "get", lambda *_: Brightness())
    session.create_project(tmp_path / "a.histoseg", "bcss5")
    image_id = session.add_image(picture()).id
    session.choose_model(MODEL)
    return session, image_id


def found(session: Session, image_id: str) -> dict[Box, ScoredField]:
    scores = session.scores.of(image_id)
    assert scores is not None
    return {field.box: field for field in scores.fields}


def test_every_field_with_tissue_is_scored_and_told_as_it_comes(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    heard: list[int] = []
    session.scores.changed.connect(lambda i: heard.append(len(session.scores.of(i).fields)))
    statuses: list[JobStatus] = []
    session.job_changed.connect(statuses.append)
    session.score(image_id)
    assert session.is_running("score")
    wait(session)
    fields = found(session, image_id)
    assert set(fields) == {Box(0, 0, 512, 512), Box(0, 512, 512, 1024), Box(512, 0, 700, 512)}, "the corner is empty"
    pixels = picture().read(0, Box(0, 0, 512, 512))
    assert fields[Box(0, 0, 512, 512)].predicted == pytest.approx(pixels.mean() / 255, abs=1e-4)
    assert heard == [0, 1, 2, 3]
    assert [s.state for s in statuses][:1] + [s.state for s in statuses][-1:] == ["queued", "done"]
    assert not session.is_running("score")
    assert session.scores.of(image_id).model.is_untrained


def test_means_are_weighted_by_tissue_in_the_place(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    session.score(image_id)
    wait(session)
    scores, fields = session.scores.of(image_id), list(found(session, image_id).values())
    weights = [f.tissue * f.box.area for f in fields]
    assert scores.predicted() == pytest.approx(np.average([f.predicted for f in fields], weights=weights))
    only = Box(600, 10, 690, 500)
    assert scores.predicted(only) == pytest.approx(found(session, image_id)[Box(512, 0, 700, 512)].predicted)
    assert scores.predicted(Box(600, 600, 690, 1000)) is None, "nothing was scored there"


def test_labels_say_malignant_area_over_tissue_area(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    session.score(image_id)
    wait(session)
    assert session.has_malignant_class
    assert session.scores.of(image_id).derived() is None, "nothing is labelled yet"
    labels = np.full((700, 1024), IGNORE, np.uint8)
    labels[:512, :512] = STROMA
    labels[:128, :512] = TUMOR
    session.import_labels(image_id, labels, verified=True)
    session.refresh_derived_scores(image_id)
    wait(session)
    fields = found(session, image_id)
    first = fields[Box(0, 0, 512, 512)]
    tissue_px = (-np.log((picture().read(0, first.box)[..., 1] + 1) / 240) >= 0.15) | (labels[:512, :512] == TUMOR)
    assert first.derived == pytest.approx(128 * 512 / tissue_px.sum(), rel=0.02)
    assert fields[Box(0, 512, 512, 1024)].derived is None
    assert session.scores.of(image_id).derived() == pytest.approx(first.derived)
    assert first.predicted == pytest.approx(session.scores.of(image_id).fields[0].predicted)


def test_a_project_without_a_malignant_class_says_so(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session._predictors, "get", lambda *_: Brightness())
    session.choose_model(MODEL)
    image_id = session.add_image(picture()).id
    assert session.active is not None and session.active.spec.id == MODEL, "a score goes with any classes"
    session.score(image_id)
    wait(session)
    assert not session.has_malignant_class
    assert session.scores.of(image_id).derived() is None


def test_a_view_is_cut_into_fields_of_its_own(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    view = Box(100, 50, 500, 900)
    session.score(image_id, view)
    wait(session)
    assert set(found(session, image_id)) == {Box(100, 50, 500, 562), Box(100, 562, 500, 900)}


def test_cancelling_keeps_the_fields_that_were_scored(scoring: tuple[Session, str], monkeypatch: Any) -> None:
    session, image_id = scoring
    calls: list[int] = []

    class Once(Brightness):
        def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            calls.append(1)
            return super().scores(batch)

    monkeypatch.setattr(session._predictors, "get", lambda *_: Once())
    session.scores.changed.connect(lambda _: session.cancel("score") if calls else None)
    session.score(image_id)
    wait(session)
    assert not session.is_running("score")
    assert len(found(session, image_id)) == 1


def test_wrong_use_is_answered_with_a_sentence(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    with pytest.raises(InputError, match="draws no labels"):
        session.segment(image_id)
    session.choose_model("segformer_b0")
    with pytest.raises(InputError, match="gives no score"):
        session.score(image_id)


def test_closing_the_project_stops_and_forgets(scoring: tuple[Session, str]) -> None:
    session, image_id = scoring
    session.score(image_id)
    session.close_project()
    wait(session)
    assert session.scores.of(image_id) is None
    assert not session.is_running("score")


def test_no_field_no_mean(scoring: tuple[Session, str]) -> None:
    session, _ = scoring
    assert ImageScores((), session.active).predicted() is None
