"""U-Net# on PanNuke (Stagys): as published, and with the parts and losses that its text leaves open.

As published: Macenko normalisation, crops of 224 px, focal Tversky loss, AdaBound 1e-4, batches of 8 of which 8 make a
step, encoder frozen for 5 of 50 epochs and then learning except for its batch norm; folds 1, 2 and 3 train, validate
and test. ``--set start=FILE`` begins with pretrained encoder weights, whose licence is yours to respect.
"""

from __future__ import annotations

from training.plan import Plan, TestSet

_SHARP = Plan(
    title="U-Net#",
    model="unetsharp",
    data="pannuke",
    schema_id="pannuke",
    mpp=0.25,
    macenko=True,
    crop_px=224,
    augmentation="unetsharp",
    losses=({"name": "focal_tversky", "preset": "unetsharp"},),
    optimizer={"name": "adabound", "final_lr": 0.1, "gamma": 1e-3},
    learning_rate=1e-4,
    freeze=("encoder",),
    freeze_epochs=5,
    batch_size=8,
    accumulate=8,
    epochs=50,
    patience=20,
    tests=(TestSet(data="pannuke", objects="nuclei"),),
)

EXPERIMENTS = {
    "residual": _SHARP,
    "paper_forward": _SHARP.change(title="U-Net#, the published forward pass", model="unetsharp_paper_forward"),
    "release": _SHARP.change(
        title="U-Net# as released",
        model="unetsharp_paper_forward",
        variant={"bn_stats": "update"},
        losses=({"name": "focal_tversky", "preset": "release"},),
        epochs=150,
    ),
    "abraham": _SHARP.change(title="U-Net#, recall favoured", losses=({"name": "focal_tversky", "preset": "abraham"},)),
    "no_attention": _SHARP.change(title="without attention gates", variant={"attention": False}),
    "no_aspp": _SHARP.change(title="without ASPP", variant={"aspp": False}),
    "unet": _SHARP.change(title="U-Net with batch norm", model="unet", variant={"batch_norm": True}, freeze=()),
}
