"""Nuclei, one by one, from the stained tissue of DSB 2018: background, nucleus and boundary as classes.

The set gives no µm per pixel and only few of its images are pink H&E, so magnification varies from half to double and
the stains vary strongly. 0.3 µm per pixel is where its nuclei have the size of those of 40x slides. The test on MoNuSeg
is the one that counts: other organs, another scanner, real H&E.
"""

from __future__ import annotations

from training.plan import Plan, TestSet

_UNET = Plan(
    title="U-Net",
    name="unet-nuclei",
    model="unet",
    variant={"width": 32, "batch_norm": True},
    data="dsb2018",
    schema_id="nuclei",
    target="nuclei",
    mpp=0.3,
    crop_px=256,
    augmentation="strong",
    scale=(0.5, 2.0),
    losses=({"name": "cross_entropy"}, {"name": "dice"}),
    optimizer={"name": "adamw"},
    learning_rate=2e-3,
    weight_decay=0.02,
    schedule={"name": "warmup_stable_decay", "warmup": 0.03, "decay": 0.5},
    clip_norm=5,
    batch_size=16,
    steps=6000,
    validate_every=200,
    average=0.998,
    keep="last",
    tests=(TestSet(data="monuseg", split="all"), TestSet(data="dsb2018")),
)

EXPERIMENTS = {
    "unet": _UNET,
    "same_stain": _UNET.change(title="U-Net, stains as they are", augmentation="placement"),
    "border": _UNET.change(title="U-Net, border weights", losses=({"name": "border_cross_entropy"}, {"name": "dice"})),
    "segformer": _UNET.change(title="SegFormer-B0", model="segformer_b0", variant={}, learning_rate=1e-3),
}
