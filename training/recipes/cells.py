"""Cell classes on CRCHistoPhenotypes: nuclei grown from points, DeepLabv3+ with a small encoder, four gammas.

The question of the cellularity paper's step 1, how strongly to look at hard pixels, on points that are at hand.
"""

from __future__ import annotations

from typing import Any

from training.plan import Plan, TestSet
from training.recipes import paper_c

_COMMON: dict[str, Any] = {
    "data": "crchisto",
    "schema_id": "crchisto",
    "mpp": 0.55,
    "augmentation": "strong",
    "scale": (0.8, 1.25),
    "optimizer": {"name": "adamw"},
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "schedule": {"name": "warmup_stable_decay", "warmup": 0.05, "decay": 0.5},
    "batch_size": 8,
    "steps": 1000,
    "validate_every": 100,
    "variant": {"encoder": "resnet18"},
    "tests": (TestSet(data="crchisto"),),
}


def _here(plan: Plan) -> Plan:
    return plan.change(**_COMMON)


EXPERIMENTS = {name: _here(plan) for name, plan in paper_c.EXPERIMENTS.items() if name.startswith("gamma")}
