"""SegFormer-B0, the vision transformer that the authors of the papers wished for, on the sets of two of them."""

from __future__ import annotations

from training.plan import Plan
from training.recipes import paper_a, paper_e

_HOW = {
    "model": "segformer_b0",
    "optimizer": {"name": "adamw"},
    "learning_rate": 3e-4,
    "weight_decay": 0.01,
    "augmentation": "strong",
}


def _bcss(plan: Plan) -> Plan:
    return plan.change(**_HOW, title="SegFormer-B0", crop_px=768, scale=(0.8, 1.25))


def _pannuke(plan: Plan) -> Plan:
    return plan.change(**_HOW, title="SegFormer-B0", variant={}, freeze=(), freeze_epochs=0, scale=(0.8, 1.25))


EXPERIMENTS = {"bcss": _bcss(paper_a.EXPERIMENTS["spade"]), "pannuke": _pannuke(paper_e.EXPERIMENTS["residual"])}
