"""Jobs without a lane."""

from __future__ import annotations

import pytest

from napari_histoseg.jobs.job import Job, Progress, run_job


def test_run_job_returns_the_result_and_reports_each_step() -> None:
    def job() -> Job[str]:
        yield Progress(1, 2, payload="a")
        yield Progress(2, 2, payload="b")
        return "ab"

    heard: list[str] = []
    assert run_job(job(), lambda step: heard.append(step.payload)) == "ab"
    assert heard == ["a", "b"]


def test_run_job_closes_the_job_when_the_listener_fails() -> None:
    closed: list[bool] = []

    def job() -> Job[None]:
        try:
            yield Progress(1, 2)
        finally:
            closed.append(True)

    def fail(_: Progress) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run_job(job(), fail)
    assert closed == [True]
