"""VGG16 transfer networks for cancer, stroma and background (Abdulhamid): four designs, two kinds of target.

As published: images of 1128 x 720 px, each also mirrored in x and in y, Adam 1e-4 with a decay of 0.96 per epoch,
batches of 4, 10 epochs. ``--set start=FILE`` begins with ImageNet weights of VGG16 (``normalisation=imagenet`` then).
"""

from __future__ import annotations

from training.plan import Plan, TestSet

_FINAL = Plan(
    title="final",
    model="vgg_fcn",
    data="pairs",
    schema_id="cancer-stroma",
    augmentation="mirrors",
    losses=({"name": "cross_entropy"},),
    optimizer={"name": "adam"},
    learning_rate=1e-4,
    schedule={"name": "exponential", "rate": 0.96},
    batch_size=4,
    epochs=10,
    tests=(TestSet(data="pairs"),),
)
_IMAGE_LOSS = ({"name": "l1_l2", "l1": 1.0, "l2": 1.0},)
_SMOOTH = ({"name": "cross_entropy"}, {"name": "smoothness", "weight": 0.1})

EXPERIMENTS = {
    "final": _FINAL,
    "exp1": _FINAL.change(title="experiment 1", model="vgg_fcn_exp1"),
    "exp2": _FINAL.change(title="experiment 2", model="vgg_fcn_exp2"),
    "exp3": _FINAL.change(title="experiment 3", model="vgg_fcn_exp3"),
    "final_l1_l2": _FINAL.change(title="final, L1 and L2", losses=_IMAGE_LOSS),
    "final_smooth": _FINAL.change(title="final, smoothness", losses=_SMOOTH),
    "final_edge_smooth": _FINAL.change(
        title="final, smoothness except at edges",
        losses=({"name": "cross_entropy"}, {"name": "smoothness", "weight": 0.1, "edge_aware": True}),
    ),
}
