"""Cellularity on fields of CRCHistoPhenotypes whose score follows from their own points: guided against plain networks.

The score is the share of tissue that epithelial nuclei cover, a stand-in for what pathologists scored in BreastPathQ.
Encoders are small, so that a CPU can train them. ``--set start=RUN`` guides by a run of ``cells``.
"""

from __future__ import annotations

from typing import Any

from training.plan import Plan, TestSet
from training.recipes import paper_c

_COMMON: dict[str, Any] = {
    "data": "crchisto_scores",
    "schema_id": "crchisto",
    "mpp": 0.55,
    "optimizer": {"name": "adamw"},
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "schedule": {"name": "warmup_stable_decay", "warmup": 0.05, "decay": 0.5},
    "batch_size": 16,
    "steps": 1000,
    "validate_every": 100,
    "tests": (TestSet(data="crchisto_scores"),),
}


def _here(name: str, **variant: str) -> Plan:
    return paper_c.EXPERIMENTS[name].change(**_COMMON, variant=variant)


EXPERIMENTS = {
    "guided": _here("guided", encoder="resnet26", guide="resnet18"),
    "resnet26": _here("resnet101", encoder="resnet26").change(title="ResNet26"),
    "resnet50": _here("resnet101", encoder="resnet50").change(title="ResNet50"),
    "resnext50": _here("resnext101", encoder="resnext50_32x4d").change(title="ResNeXt50"),
}
