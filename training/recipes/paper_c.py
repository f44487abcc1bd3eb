"""Cellularity by regression that a segmentation guides (Wang, Yu & Wang): step 1 with four gammas, step 2, baselines.

As published: DeepLabv3+ on 512 px regions with nuclei grown from points, crops of 256 px, SGD 0.01, batches of 50, 7000
epochs with a decay after 3000, focal loss of gamma 1; then regression on 512 px patches with L1, Adam 3e-3 falling to a
tenth every 300 of 900 epochs, batches of 64. ``--set start=RUN`` guides step 2 by a run of step 1, and
``start=pretrained`` begins with the ImageNet weights that timm offers.
"""

from __future__ import annotations

from typing import Any

from training.plan import Plan, TestSet

_SEGMENTATION = Plan(
    title="DeepLabv3+, gamma 1",
    model="deeplabv3plus",
    data="breastpathq_cells",
    schema_id="cellularity",
    mpp=0.5,
    crop_px=256,
    augmentation="cellularity_segmentation",
    losses=({"name": "focal", "gamma": 1, "class_weight": "log_freq"},),
    optimizer={"name": "sgd", "momentum": 0.9},
    learning_rate=0.01,
    weight_decay=1e-4,
    schedule={"name": "step", "epochs": 3000, "factor": 0.1},
    batch_size=50,
    epochs=7000,
    tests=(TestSet(data="breastpathq_cells", split="validation"),),
)
_REGRESSION = Plan(
    title="ResNet101",
    model="cellularity_resnet101",
    data="breastpathq",
    schema_id="cellularity",
    target="score",
    mpp=0.5,
    augmentation="cellularity_score",
    losses=({"name": "l1"},),
    optimizer={"name": "adam"},
    learning_rate=3e-3,
    schedule={"name": "step", "epochs": 300, "factor": 0.1},
    batch_size=64,
    epochs=900,
    tests=(TestSet(data="breastpathq"),),
)


def _gamma(gamma: float) -> dict[str, Any]:
    terms = ({"name": "focal", "gamma": gamma, "class_weight": "log_freq"},)
    return {"title": f"DeepLabv3+, gamma {gamma:g}", "losses": terms}


EXPERIMENTS = {
    "guided": _REGRESSION.change(title="proposed", model="cellularity_guided"),
    "resnet101": _REGRESSION,
    "resnet152": _REGRESSION.change(title="ResNet152", model="cellularity_resnet152"),
    "resnext101": _REGRESSION.change(title="ResNeXt101", model="cellularity_resnext101"),
    "senet154": _REGRESSION.change(title="SENet154", model="cellularity_senet154"),
    "seresnet101": _REGRESSION.change(title="SE-ResNet101", model="cellularity_seresnet101"),
    "nasnet": _REGRESSION.change(title="NASNet-A-Large", model="cellularity_nasnet"),
    "gamma1": _SEGMENTATION,
    "gamma0": _SEGMENTATION.change(**_gamma(0)),
    "gamma2": _SEGMENTATION.change(**_gamma(2)),
    "gamma5": _SEGMENTATION.change(**_gamma(5)),
}
