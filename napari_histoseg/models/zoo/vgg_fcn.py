"""Transfer FCN for cancer against stroma (Abdulhamid): the first layers of VGG16, then a short decoder.

Three experiments stop before VGG's second pooling and search the decoder's kernels; the final design goes one level
deeper. The convolutions of VGG stand at the places of torchvision's ``features``, so ImageNet weights fit by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from napari_histoseg.core.schemas import CANCER_STROMA
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec

# Halos: how far a cell of the pooling grid sees beyond itself (26, 18, 16 and 14 pixels), as multiples of that cell.
FINAL = ModelSpec(
    id="vgg_fcn",
    title="VGG16-FCN",
    paper="Abdulhamid, transfer learning for cancer and stroma",
    task="semantic",
    classes=CANCER_STROMA.classes,
    mpp=0.5,
    tile_px=720,
    halo_px=28,
    required_multiple=4,
    is_local=True,
    golden_parameters=2_812_291,
    paper_input=(720, 1128),
    gflops=772.66,
    pretrained="torchvision VGG16 (ImageNet), BSD-3-Clause",
)
EXP1 = replace(
    FINAL,
    id="vgg_fcn_exp1",
    title="VGG16-FCN, experiment 1 (large kernels)",
    halo_px=18,
    required_multiple=2,
    golden_parameters=1_580_723,
    gflops=2217.24,
    variant={"design": "exp1"},
)
EXP2 = replace(
    EXP1,
    id="vgg_fcn_exp2",
    title="VGG16-FCN, experiment 2 (shrinking kernels)",
    halo_px=16,
    golden_parameters=1_179_315,
    gflops=1565.22,
    variant={"design": "exp2"},
)
EXP3 = replace(
    EXP1,
    id="vgg_fcn_exp3",
    title="VGG16-FCN, experiment 3 (many small kernels)",
    halo_px=14,
    golden_parameters=1_746_819,
    gflops=2485.86,
    variant={"design": "exp3"},
)

Design = Literal["exp1", "exp2", "exp3", "final"]
_UP = 0
_DEPTH = {"exp1": 2, "exp2": 2, "exp3": 2, "final": 3}  # groups of two VGG convolutions
_VGG = (64, 128, 256)

# (kernel, channels) in forward order, before the last 3x3 convolution to the classes; _UP doubles the resolution.
_DECODERS = {
    "exp1": ((_UP, 128), (11, 64), (9, 48), (3, 32)),
    "exp2": ((_UP, 128), (9, 64), (7, 48), (5, 32)),
    "exp3": ((_UP, 128), (3, 256), (3, 256), (3, 128), (3, 128), (3, 64), (3, 32)),
    "final": ((3, 256), (_UP, 256), (3, 256), (_UP, 128), (3, 64), (3, 32)),
}


class VggFcn(nn.Module):
    """VGG's first groups, a decoder of convolutions; parameters as in :func:`build`.

    Weights begin as in He et al. (2015), "Delving deep into rectifiers", with zero biases.
    """

    def __init__(self, num_classes: int, *, design: Design, width: int, dropout: float, final_relu: bool) -> None:
        super().__init__()
        features: list[nn.Module] = []
        before = 3
        for k, channels in enumerate(c * width // _VGG[0] for c in _VGG[: _DEPTH[design]]):
            if k:
                features.append(nn.MaxPool2d(2))
            for _ in range(2):
                features += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
        decoder: list[nn.Module] = []
        for kernel, full in _DECODERS[design]:
            channels = full * width // _VGG[0]
            decoder += [_layer(before, channels, kernel), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            before = channels
        self.encoders = {"features": "vgg16"}
        self.features = nn.Sequential(*features)
        self.decoder = nn.Sequential(*decoder)
        self.head = nn.Conv2d(before, num_classes, 3, padding=1)
        self.last: nn.Module = nn.ReLU() if final_relu else nn.Identity()
        self.multiple = 2 ** (_DEPTH[design] - 1)
        for layer in self.modules():  # nothing else keeps the signal alive: there is no normalisation
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 2, or 4 when final."""
        check_multiple(FINAL.title, image, self.multiple)
        logits: Tensor = self.last(self.head(self.decoder(self.features(image))))
        return logits


def _layer(before: int, after: int, kernel: int) -> nn.Module:
    if kernel == _UP:
        return nn.ConvTranspose2d(before, after, 2, stride=2)
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


@register(FINAL, EXP1, EXP2, EXP3)
def build(
    num_classes: int,
    *,
    design: Design = "final",
    width: int = 64,
    dropout: float = 0.0,
    final_relu: bool = False,
) -> nn.Module:
    """One of the four designs with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    design : {"exp1", "exp2", "exp3", "final"}
        The paper's experiment.
    width : int
        Channels of the first convolution; all others follow. VGG16 has 64.
    dropout : float
        Share of values dropped after each decoder layer; the paper tried it without gain.
    final_relu : bool
        A ReLU on the output, as the paper draws it; for regression of label images, since it hurts a softmax.
    """
    return VggFcn(num_classes, design=design, width=width, dropout=dropout, final_relu=final_relu)
