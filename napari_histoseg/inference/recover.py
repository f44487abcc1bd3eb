"""What to do when the memory runs out: free it and try again in smaller pieces."""

from __future__ import annotations

import functools
import sys
import traceback
from typing import Any, Protocol, Self, runtime_checkable

from napari_histoseg.core.errors import ResourceError
from napari_histoseg.jobs.lane import JobFactory


@runtime_checkable
class Shrinkable(Protocol):
    """A request that can ask for the same in smaller pieces."""

    def smaller(self) -> Self | None:
        """The request with a lower need for memory; None when there is no lower."""
        ...


def recover_memory(error: Exception, factory: JobFactory, attempt: int) -> JobFactory:
    """The job to run instead of one that ran out of memory; for ``Lane(recover=...)``.

    Parameters
    ----------
    error : Exception
        What the job raised; anything but a lack of memory is raised again.
    factory : callable
        Retried in smaller pieces when it is ``functools.partial(job, request, ...)`` of a ``Shrinkable`` request.
    attempt : int
        How many times it has failed.

    Raises
    ------
    ResourceError
        When it cannot be made smaller.
    """
    if not is_out_of_memory(error):
        raise error
    _free(error)
    smaller = _shrink(factory)
    if smaller is None:
        raise ResourceError(
            f"The memory is too small for this model, even in small pieces (tried {attempt} times); "
            "close other programs, or choose the CPU or a smaller model."
        ) from error
    return smaller


def is_out_of_memory(error: Exception) -> bool:
    """True for Python's and torch's ways to say that memory ran out; torch need not be loaded."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def _shrink(factory: JobFactory) -> JobFactory | None:
    if not (isinstance(factory, functools.partial) and factory.args and isinstance(factory.args[0], Shrinkable)):
        return None
    request: Any = factory.args[0].smaller()
    if request is None:
        return None
    return functools.partial(factory.func, request, *factory.args[1:], **factory.keywords)


def _free(error: Exception) -> None:
    """Drop the arrays that the failed frames still hold, and what torch has cached of the graphics card."""
    traceback.clear_frames(error.__traceback__)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
