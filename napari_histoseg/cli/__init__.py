"""The shell command: exit 0 on success, 1 on failure or when stopped, 2 on wrong use."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from napari_histoseg.cli.parser import parse
from napari_histoseg.core.errors import HistosegError

SUCCESS, FAILURE = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; one readable line on standard error when it fails.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.
    """
    args = parse(sys.argv[1:] if argv is None else list(argv))
    try:
        code: int = args.handler(args)
    except KeyboardInterrupt:
        print("napari-histoseg: stopped; nothing half-written was kept.", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, so there is nobody to tell
        return FAILURE
    except Exception as error:  # noqa: BLE001 - the last place where it can become a readable line
        if args.debug:
            traceback.print_exc()
        print(f"napari-histoseg: {_sentence(error)}", file=sys.stderr)
        return FAILURE
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, HistosegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "the memory is full; close other programs or use smaller tiles (--tile)."
    if isinstance(error, OSError) and error.strerror:
        where = f" '{error.filename}'" if error.filename else ""
        return f"{error.strerror}{where}; check the place and its permissions."
    return f"something unexpected happened ({type(error).__name__}: {error}); run again with --debug to see where."
