"""The open project, the active model and what is running: the one place that knows all of them, without a window."""

from napari_histoseg.session.catalogue import ModelInfo, WeightsInfo
from napari_histoseg.session.cells import CellWork
from napari_histoseg.session.session import Session
from napari_histoseg.session.status import ActiveModel, JobKind, JobState, JobStatus

__all__ = ["ActiveModel", "CellWork", "JobKind", "JobState", "JobStatus", "ModelInfo", "Session", "WeightsInfo"]
