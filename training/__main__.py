"""``python -m training``: public data sets in, starter weights out."""

from __future__ import annotations

import sys

from training.cli import main

sys.exit(main())
