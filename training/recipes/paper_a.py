"""SPADESegResNet on BCSS (Deshpande): its table of three networks, and the variants that its text wishes for.

As published: tiles of 768 px every 512 px, those with more than 90 % unknown pixels left out, cross entropy weighted by
one minus the share of a class, no augmentation, Adam 1e-4, batches of 3, at most 50 epochs. Validation is by patient,
since tiles that overlap would leak. Tests are on tiles, as the published table's are.
"""

from __future__ import annotations

from training.plan import Plan, TestSet

_SPADE = Plan(
    title="SPADESegResNet",
    model="spade_segresnet",
    data="bcss",
    schema_id="bcss5",
    mpp=0.25,
    tile_px=768,
    stride_px=512,
    max_ignore=0.9,
    losses=({"name": "cross_entropy"},),
    class_weights="one_minus_freq",
    optimizer={"name": "adam"},
    learning_rate=1e-4,
    schedule={"name": "plateau", "patience": 10, "factor": 0.1},
    batch_size=3,
    epochs=50,
    patience=20,
    tests=(TestSet(data="bcss", tile_px=768, stride_px=512),),
)

EXPERIMENTS = {
    "spade": _SPADE,
    "unet": _SPADE.change(title="UNet", model="unet"),
    "unetpp": _SPADE.change(title="UNet++", model="unetpp"),
    "release": _SPADE.change(
        title="SPADESegResNet as released",
        variant={"tied": True, "tanh_logits": True},
        max_ignore=0.5,
        epochs=100,
    ),
    "no_spade": _SPADE.change(title="without SPADE", model="spade_segresnet_ablation"),
    "batch_spade": _SPADE.change(title="SPADE on batch norm", variant={"spade": "batch"}),
    "context": _SPADE.change(
        title="context-aware, 512 px in, 256 px out",
        variant={"context_margin": 128},
        tile_px=512,
        stride_px=256,
    ),
    "strong": _SPADE.change(title="with augmentation", augmentation="strong", crop_px=768, scale=(0.8, 1.25)),
    "focal": _SPADE.change(title="with focal loss", losses=({"name": "focal", "gamma": 2},)),
    "unetpp_deep": _SPADE.change(title="UNet++ with deep supervision", model="unetpp_deep"),
}
