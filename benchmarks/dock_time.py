"""Time from the menu to the first dock on screen, and to all five, in a running napari: the first at most 1.5 s.

Run under a screen or: xvfb-run python -m benchmarks.dock_time
"""

from __future__ import annotations

import os
import sys
import tempfile
import time


def main() -> None:
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_histoseg.samples import get_sample
    from napari_histoseg.viewer.layers import image_layer_data

    viewer = napari.Viewer(show_welcome_screen=False)
    data, settings, _ = image_layer_data(get_sample("ihc").open())
    viewer.add_image(data, **settings)
    for _ in range(50):
        QApplication.processEvents()
    begun = time.perf_counter()
    viewer.window.add_plugin_dock_widget("napari-histoseg", "Segment")
    QApplication.sendPostedEvents()
    first = time.perf_counter() - begun
    is_light = "torch" not in sys.modules
    for _ in range(5):
        QApplication.processEvents()
    print(f"first dock {first:.2f} s, all panels painted {time.perf_counter() - begun:.2f} s")
    print("torch not loaded by the first dock" if is_light else "torch was loaded by the first dock")
    from napari_histoseg.plugin import workbench

    workbench(viewer).close()
    viewer.close()


if __name__ == "__main__":
    main()
