"""Micro-Net on GlaS (Bhatt, Podduturi & Yi, after Raza et al. 2019), in full size and in sizes that can be trained.

As planned by the authors, who never trained it: patches of 600 px, of which each epoch sees a random 508 px, batches of
16, Adam 1e-3 falling to a tenth every 5 epochs, 25 epochs, auxiliary losses that fade with the epoch. The full network
needs ``--set checkpointing=true batch_size=2 accumulate=8`` on a 16 GB card.
"""

from __future__ import annotations

from training.plan import Plan, TestSet

_FULL = Plan(
    title="Micro-Net-508",
    model="micronet_508",
    data="glas",
    schema_id="glands",
    mpp=0.62,
    tile_px=600,
    crop_px=508,
    augmentation="micronet",
    losses=({"name": "cross_entropy"},),
    auxiliary="per_epoch",
    optimizer={"name": "adam"},
    learning_rate=1e-3,
    schedule={"name": "decade", "epochs": 5},
    batch_size=16,
    epochs=25,
    tests=(TestSet(data="glas", objects="glands"),),
)
_SMALL = _FULL.change(title="Micro-Net-252", model="micronet_252", tile_px=300, crop_px=252)

EXPERIMENTS = {
    "w64": _FULL,
    "w32": _FULL.change(title="Micro-Net-508, width 32", variant={"width": 32}),
    "w16": _FULL.change(title="Micro-Net-508, width 16", model="micronet_508_w16"),
    "w16_border": _FULL.change(
        title="Micro-Net-508, width 16, border weights",
        model="micronet_508_w16",
        losses=({"name": "border_cross_entropy", "sigma_px": 4.0},),
    ),
    "minus": _FULL.change(title="Micro-Net-508 without multi-resolution", model="micronet_508_minus"),
    "minus_w16": _FULL.change(
        title="Micro-Net-508 without multi-resolution, width 16", model="micronet_508_minus", variant={"width": 16}
    ),
    "size252": _SMALL,
    "size252_minus": _SMALL.change(title="Micro-Net-252 without multi-resolution", model="micronet_252_minus"),
}
