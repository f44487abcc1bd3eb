"""The lane: order, delivery, cancelling, errors, recovery, closing."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from napari_histoseg.core.errors import ResourceError
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.jobs.lane import JobFactory, Lane, Priority, Ticket, check_cancelled


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane()
    yield lane
    assert lane.close()


def count(total: int, log: list[Any] | None = None, name: str = "job", gate: threading.Event | None = None) -> Job[str]:
    try:
        for done in range(1, total + 1):
            if gate is not None:
                gate.wait(5)
            if log is not None:
                log.append((name, done))
            yield Progress(done, total, name)
        return name
    finally:
        if log is not None:
            log.append((name, "closed", threading.current_thread().name))


def test_results_and_progress_arrive_in_order_on_the_main_thread(lane: Lane) -> None:
    heard: list[Any] = []
    threads: set[str] = set()

    def hear(what: Any) -> None:
        threads.add(threading.current_thread().name)
        heard.append(what)

    ticket = lane.submit(lambda: count(3), priority=Priority.USER, on_progress=lambda p: hear(p.done), on_done=hear)
    assert lane.wait(5)
    assert heard == [1, 2, 3, "job"]
    assert threads == {threading.main_thread().name}
    assert ticket.state == "done" and ticket.is_finished


def test_nothing_is_delivered_before_the_main_thread_asks(lane: Lane) -> None:
    heard: list[int] = []
    lane.submit(lambda: count(2), priority=Priority.USER, on_progress=lambda p: heard.append(p.done))
    deadline = time.monotonic() + 5
    while not lane.is_idle and time.monotonic() < deadline:
        time.sleep(0.01)
    assert heard == []
    lane.wait(5)
    assert heard == [1, 2]


def test_an_urgent_job_slips_between_two_steps_of_a_slow_one(lane: Lane) -> None:
    log: list[Any] = []
    started, gate = threading.Event(), threading.Event()

    def training() -> Job[str]:
        started.set()
        return (yield from count(3, log, "training", gate))

    lane.submit(training, priority=Priority.BACKGROUND)
    assert started.wait(5)
    lane.submit(lambda: count(2, log, "slide"), priority=Priority.USER)
    lane.submit(lambda: count(2, log, "view"), priority=Priority.INTERACTIVE)
    gate.set()
    assert lane.wait(5)
    steps = [entry[0] for entry in log if entry[1] != "closed"]
    assert steps == ["training", "view", "view", "slide", "slide", "training", "training"]


def test_jobs_of_equal_priority_run_one_after_the_other(lane: Lane) -> None:
    log: list[Any] = []
    for name in "abc":
        lane.submit(lambda name=name: count(2, log, name), priority=Priority.USER)
    assert lane.wait(5)
    assert [entry[0] for entry in log if entry[1] != "closed"] == list("aabbcc")


def test_cancel_closes_the_generator_on_the_lane_thread_and_keeps_what_was_done(lane: Lane) -> None:
    log: list[Any] = []
    heard: list[Any] = []
    ticket: Ticket

    def on_progress(step: Progress) -> None:
        heard.append(step.done)
        ticket.cancel()

    ticket = lane.submit(
        lambda: slow(log),
        priority=Priority.USER,
        on_progress=on_progress,
        on_done=lambda _: heard.append("done"),
        on_cancelled=lambda: heard.append("cancelled"),
    )
    assert lane.wait(5)
    assert ticket.state == "cancelled"
    assert heard[0] == 1 and heard[-1] == "cancelled" and "done" not in heard
    assert log == [("closed", "histoseg-lane")]


def slow(log: list[Any]) -> Job[None]:
    try:
        for done in range(1, 1000):
            time.sleep(0.005)
            yield Progress(done, 1000)
    finally:
        log.append(("closed", threading.current_thread().name))


def test_a_job_cancelled_while_queued_never_starts(lane: Lane) -> None:
    gate, log, heard = threading.Event(), [], []
    lane.submit(lambda: count(1, None, "first", gate), priority=Priority.INTERACTIVE)
    ticket = lane.submit(
        lambda: count(3, log, "second"), priority=Priority.USER, on_cancelled=lambda: heard.append("cancelled")
    )
    ticket.cancel()
    gate.set()
    assert lane.wait(5)
    assert log == [] and heard == ["cancelled"] and ticket.state == "cancelled"


def test_a_long_step_can_ask_whether_it_was_cancelled(lane: Lane) -> None:
    started, log = threading.Event(), []

    def endless() -> Job[None]:
        try:
            started.set()
            while True:
                check_cancelled()
                time.sleep(0.001)
            yield Progress(0, 0)
        except Exception:  # noqa: BLE001 - shows that a job's own handler does not swallow the request
            log.append("swallowed")
        finally:
            log.append("closed")

    ticket = lane.submit(endless, priority=Priority.USER)
    assert started.wait(5)
    began = time.monotonic()
    ticket.cancel()
    assert lane.wait(5)
    assert time.monotonic() - began < 0.5
    assert log == ["closed"] and ticket.state == "cancelled"


def test_check_cancelled_does_nothing_outside_a_lane() -> None:
    check_cancelled()


def test_an_error_is_delivered_and_the_lane_lives_on(lane: Lane) -> None:
    heard: list[Any] = []

    def broken() -> Job[None]:
        yield Progress(1, 2)
        raise ValueError("no such tile")

    ticket = lane.submit(broken, priority=Priority.USER, on_error=heard.append, on_done=heard.append)
    lane.submit(lambda: count(1), priority=Priority.USER, on_done=heard.append)
    assert lane.wait(5)
    assert ticket.state == "failed"
    assert isinstance(heard[0], ValueError) and str(heard[0]) == "no such tile" and heard[1] == "job"


def test_an_error_in_making_the_job_is_delivered(lane: Lane) -> None:
    heard: list[Exception] = []

    def refuse() -> Job[None]:
        raise ResourceError("no room")

    lane.submit(refuse, priority=Priority.USER, on_error=heard.append)
    assert lane.wait(5)
    assert isinstance(heard[0], ResourceError)


def test_an_error_while_closing_a_cancelled_job_is_not_lost(lane: Lane) -> None:
    heard: list[Any] = []
    ticket: Ticket

    def stubborn() -> Job[None]:
        try:
            while True:
                time.sleep(0.002)
                yield Progress(0, 0)
        finally:
            raise OSError("disk gone")

    ticket = lane.submit(stubborn, priority=Priority.USER, on_progress=lambda _: ticket.cancel(), on_error=heard.append)
    assert lane.wait(5)
    assert ticket.state == "failed" and isinstance(heard[-1], OSError)


def out_of_memory_until(size: int) -> Callable[[], Job[int]]:
    def job() -> Job[int]:
        yield Progress(0, 1)
        if size > 1:
            raise MemoryError(f"batch {size}")
        return size

    return job


def test_recover_offers_a_smaller_job_until_it_fits() -> None:
    sizes = [4, 2, 1]
    attempts: list[int] = []

    def halve(error: Exception, factory: JobFactory, attempt: int) -> JobFactory:
        attempts.append(attempt)
        if not isinstance(error, MemoryError):
            raise error
        return out_of_memory_until(sizes[attempt])

    lane, heard = Lane(halve), []
    lane.submit(out_of_memory_until(4), priority=Priority.USER, on_done=heard.append, on_error=heard.append)
    assert lane.wait(5)
    assert heard == [1] and attempts == [1, 2]
    assert lane.close()


def test_recover_has_the_last_word_on_the_error() -> None:
    def give_up(error: Exception, factory: JobFactory, attempt: int) -> JobFactory:
        raise ResourceError("The graphics card is full; choose a smaller tile.") from error

    lane, heard = Lane(give_up), []
    lane.submit(out_of_memory_until(2), priority=Priority.USER, on_error=heard.append)
    assert lane.wait(5)
    assert isinstance(heard[0], ResourceError) and isinstance(heard[0].__cause__, MemoryError)
    assert lane.close()


def test_a_callback_may_submit_the_next_job(lane: Lane) -> None:
    heard: list[str] = []
    lane.submit(
        lambda: count(1, name="first"),
        priority=Priority.USER,
        on_done=lambda _: lane.submit(lambda: count(1, name="second"), priority=Priority.USER, on_done=heard.append),
    )
    assert lane.wait(5)
    assert heard == ["second"]


def test_an_exception_of_a_callback_comes_through_wait(lane: Lane) -> None:
    def complain(_: Any) -> None:
        raise ResourceError("the disk is full")

    lane.submit(lambda: count(1), priority=Priority.USER, on_done=complain)
    with pytest.raises(ResourceError, match="disk is full"):
        lane.wait(5)


def test_wait_gives_up_after_its_timeout(lane: Lane) -> None:
    gate = threading.Event()
    lane.submit(lambda: count(1, gate=gate), priority=Priority.USER)
    assert not lane.wait(0.05)
    gate.set()
    assert lane.wait(5)


def test_close_cancels_joins_and_silences() -> None:
    before = threading.active_count()
    log: list[Any] = []
    heard: list[Any] = []
    lane = Lane()
    lane.submit(
        lambda: slow(log), priority=Priority.USER, on_progress=heard.append, on_cancelled=lambda: heard.append(0)
    )
    lane.submit(lambda: count(3, log), priority=Priority.BACKGROUND, on_done=heard.append)
    time.sleep(0.05)
    began = time.monotonic()
    assert lane.close()
    assert time.monotonic() - began < 2
    assert threading.active_count() == before
    assert log == [("closed", "histoseg-lane")]
    lane.wait(1)
    assert heard == []
    with pytest.raises(RuntimeError, match="closed"):
        lane.submit(lambda: count(1), priority=Priority.USER)


def test_a_lane_without_jobs_has_no_thread() -> None:
    before = threading.active_count()
    lane = Lane()
    assert threading.active_count() == before
    assert lane.close()


def test_a_finished_job_leaves_nothing_in_memory(lane: Lane) -> None:
    class Tensor:
        pass

    def job(held: Tensor) -> Job[None]:
        yield Progress(1, 1)

    held = Tensor()
    gone = weakref.ref(held)
    ticket = lane.submit(lambda held=held: job(held), priority=Priority.USER)
    assert lane.wait(5)
    del held
    time.sleep(0.05)
    gc.collect()
    assert ticket.is_finished and gone() is None


def test_a_program_that_ends_without_closing_ends_its_jobs_first() -> None:
    code = (
        "import time\n"
        "from napari_histoseg.jobs.job import Progress\n"
        "from napari_histoseg.jobs.lane import Lane, Priority\n"
        "def job():\n"
        "    try:\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"
        "            yield Progress(1, 2, 'job')\n"
        "    finally:\n"
        "        print('released')\n"
        "Lane().submit(job, priority=Priority.USER)\n"
        "time.sleep(0.2)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "released\n"
