"""A setting of the C library that training on a CPU gains a lot from."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks for the next step instead of returning them to the system.

    Otherwise every step fetches its activations from the system anew, page by page, which can take longer than the
    arithmetic. Does nothing where the C library has no such setting.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        if not mallopt(_M_MMAP_THRESHOLD, 1024 * _MIB):
            mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the largest value that older versions accept
        mallopt(_M_TRIM_THRESHOLD, 2047 * _MIB)
        mallopt(_M_TOP_PAD, 256 * _MIB)
