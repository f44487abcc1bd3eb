"""What is running, in napari's own activity dock."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.utils import progress

    from napari_histoseg.session import JobStatus, Session

_TITLES = {
    "predict": "Segmenting",
    "finetune": "Retraining",
    "score": "Scoring",
    "points": "Cells from points",
    "features": "Measuring cells",
    "repaint": "Outlining cells",
}


class Activity:
    """One bar per running job."""

    def __init__(self, session: Session) -> None:
        self._bars: dict[str, progress] = {}
        session.job_changed.connect(self._on_job_changed)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _on_job_changed(self, status: JobStatus) -> None:
        from napari.utils import progress

        if status.is_over:
            bar = self._bars.pop(status.kind, None)
            if bar is not None:
                bar.close()
            return
        bar = self._bars.get(status.kind)
        if bar is None:
            bar = progress(total=status.total, desc=_TITLES[status.kind], file=io.StringIO())
            self._bars[status.kind] = bar
        if bar.total != status.total:
            bar.total = status.total
        if status.done > bar.n:
            bar.update(status.done - bar.n)
