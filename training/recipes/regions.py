"""Cancer, stroma and background on EBHI-Seg with the designs of the VGG16 transfer networks, the smoothness on and off.

The published networks learned from 158 images that are not public; here the same designs, at half their width, see
the glands of EBHI-Seg, those of adenocarcinoma as cancer.
"""

from __future__ import annotations

from typing import Any

from training.plan import Plan, TestSet
from training.recipes import paper_b

_SIZE = {"width": 32}
_COMMON: dict[str, Any] = {
    "data": "ebhi_regions",
    "mpp": 1.5,
    "crop_px": 224,
    "augmentation": "strong",
    "scale": (0.8, 1.25),
    "learning_rate": 5e-4,
    "batch_size": 16,
    "tests": (TestSet(data="ebhi_regions"),),
}


def _here(plan: Plan) -> Plan:
    return plan.change(**_COMMON, variant=plan.variant | _SIZE)


EXPERIMENTS = {name: _here(plan) for name, plan in paper_b.EXPERIMENTS.items()}
