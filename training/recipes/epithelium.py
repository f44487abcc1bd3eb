"""Epithelium on EBHI-Seg by every architecture, under one budget: the same images, steps, changes and optimiser.

Networks are cut to a size that a CPU can train (widths, small encoders), so that they say which design learns most
from a given number of steps, not what each would reach in full size. GlaS is the second test: another scanner, another
magnification, never trained on. The ablations switch one part off and change nothing else.
"""

from __future__ import annotations

from training.evaluation import GLAS_AS_EPITHELIUM
from training.plan import Plan, TestSet

_UNET = Plan(
    title="U-Net",
    model="unet",
    variant={"width": 16, "batch_norm": True},
    data="ebhi",
    schema_id="epithelium",
    mpp=1.5,
    crop_px=224,
    augmentation="strong",
    scale=(0.6, 1.6),
    losses=({"name": "cross_entropy"}, {"name": "dice"}),
    optimizer={"name": "adamw"},
    learning_rate=1e-3,
    weight_decay=0.02,
    schedule={"name": "warmup_stable_decay", "warmup": 0.05, "decay": 0.5},
    clip_norm=5,
    batch_size=16,
    steps=3000,
    validate_every=250,
    average=0.998,
    keep="last",
    tests=(TestSet(data="ebhi"), GLAS_AS_EPITHELIUM),
    seed=1,
)
_SPADE = _UNET.change(title="SPADESegResNet", model="spade_segresnet", variant={"width": 12, "n_blocks": 3})
_MICRONET = _UNET.change(title="Micro-Net-252", model="micronet_252", variant={"width": 8}, crop_px=252)
_SHARP = _UNET.change(title="U-Net#", model="unetsharp", variant={"encoder": "resnet18", "bn_stats": "update"})

EXPERIMENTS = {
    "unet": _UNET,
    "unetpp": _UNET.change(title="U-Net++", model="unetpp", variant={"width": 12}),
    "spade": _SPADE,
    "micronet": _MICRONET,
    "unetsharp": _SHARP,
    "segformer": _UNET.change(title="SegFormer-B0", model="segformer_b0", variant={}),
    "deeplabv3plus": _UNET.change(title="DeepLabv3+", model="deeplabv3plus", variant={"encoder": "resnet18"}),
    "spade_off": _SPADE.change(
        title="SPADESegResNet without SPADE",
        model="spade_segresnet_ablation",
        variant={"width": 12, "n_blocks": 3},
    ),
    "micronet_minus": _MICRONET.change(title="Micro-Net-252 without multi-resolution", model="micronet_252_minus"),
    "unetsharp_no_attention": _SHARP.change(
        title="U-Net# without attention gates", variant=_SHARP.variant | {"attention": False}
    ),
    "unetsharp_no_aspp": _SHARP.change(title="U-Net# without ASPP", variant=_SHARP.variant | {"aspp": False}),
}
