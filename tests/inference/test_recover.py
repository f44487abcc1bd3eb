"""Running out of memory, played by jobs that say so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch

from napari_histoseg.core.errors import ResourceError
from napari_histoseg.inference.recover import is_out_of_memory, recover_memory
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.jobs.lane import Lane, Priority


@dataclass(frozen=True)
class Request:
    size: int

    def smaller(self) -> Request | None:
        return Request(self.size // 2) if self.size > 1 else None


def job(request: Request, fits: int) -> Job[int]:
    yield Progress(0, 1)
    if request.size > fits:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return request.size


def outcome(fits: int) -> object:
    lane, heard = Lane(recover_memory), []
    lane.submit(partial(job, Request(8), fits), priority=Priority.USER, on_done=heard.append, on_error=heard.append)
    assert lane.wait(5) and lane.close()
    return heard[0]


def test_it_is_tried_again_in_smaller_pieces_until_it_fits() -> None:
    assert outcome(fits=8) == 8
    assert outcome(fits=3) == 2


def test_when_nothing_is_smaller_a_sentence_says_so() -> None:
    error = outcome(fits=0)
    assert isinstance(error, ResourceError) and "tried 4 times" in str(error)
    assert isinstance(error.__cause__, torch.OutOfMemoryError)


def test_a_job_that_cannot_be_made_smaller_gets_the_sentence_at_once() -> None:
    with pytest.raises(ResourceError, match="tried 1 times"):
        recover_memory(MemoryError(), lambda: job(Request(1), 1), 1)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError):
        recover_memory(KeyError("x"), partial(job, Request(8), 1), 1)


def test_what_the_failed_frames_held_is_let_go() -> None:
    def hungry() -> None:
        held = bytearray(1000)
        raise MemoryError(f"{len(held)}")

    with pytest.raises(MemoryError) as caught:
        hungry()
    with pytest.raises(ResourceError):
        recover_memory(caught.value, lambda: job(Request(1), 1), 1)
    frames = [entry.frame for entry in caught.traceback]
    assert frames[-1].f_locals == {}


def test_out_of_memory_is_known_by_its_ways() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1 byte"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
