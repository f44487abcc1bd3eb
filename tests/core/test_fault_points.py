"""A kill before and within some of the writes; benchmarks/fault_points.py does it at each of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fault_points.py"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
def test_a_kill_at_a_write_loses_at_most_the_act_in_flight(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # a disk would take its time at each of many calls that wait for it
    folder = memory if memory.is_dir() else tmp_path
    command = [sys.executable, SCRIPT, "--every", "110", "--scenarios", "work", "--folder", folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["work"]
    assert report["lost"] == [] and report["kills"] >= 5 and report["writes"] > 200 and report["acts"] > 15
