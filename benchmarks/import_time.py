"""Time to import what napari imports when the plugin is activated: at most 0.5 s, and without torch.

Run: python -m benchmarks.import_time
"""

from __future__ import annotations

import json
import subprocess
import sys

_REPEATS = 5
_WATCHED = ("torch", "napari")
_MODULES = ("napari_histoseg", "napari_histoseg.plugin", "napari_histoseg.session", "napari_histoseg.cli")
_CODE = """
import json, sys, time
begun = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - begun, "torch" in sys.modules, "napari" in sys.modules]))
"""


def main() -> None:
    for module in _MODULES:
        answers = [
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", _CODE.format(module=module)], capture_output=True, check=True
                ).stdout
            )
            for _ in range(_REPEATS)
        ]
        seconds = sorted(answer[0] for answer in answers)
        flags = answers[0][1:]
        print(
            f"{module:28} {seconds[_REPEATS // 2]:.2f} s (median; {seconds[0]:.2f} to {seconds[-1]:.2f}), "
            + ", ".join(
                f"{name} {'loaded' if is_in else 'not loaded'}" for name, is_in in zip(_WATCHED, flags, strict=True)
            )
        )


if __name__ == "__main__":
    main()
