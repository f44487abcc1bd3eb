"""The four VGG16-FCN designs: counts, layers, shapes and how far each sees."""

from __future__ import annotations

import pytest
import torch
from networks import lively
from receptive import reach_px
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.zoo.vgg_fcn import EXP1, EXP2, EXP3, FINAL, Design, VggFcn, build

SPECS = {"exp1": EXP1, "exp2": EXP2, "exp3": EXP3, "final": FINAL}


@pytest.mark.parametrize(
    ("design", "count", "decoder"),
    [
        ("exp1", 1_580_723, [(2, 128), (11, 64), (9, 48), (3, 32)]),
        ("exp2", 1_179_315, [(2, 128), (9, 64), (7, 48), (5, 32)]),
        ("exp3", 1_746_819, [(2, 128), (3, 256), (3, 256), (3, 128), (3, 128), (3, 64), (3, 32)]),
        ("final", 2_812_291, [(3, 256), (2, 256), (3, 256), (2, 128), (3, 64), (3, 32)]),
    ],
)
def test_layers_and_counts_of_the_paper(design: Design, count: int, decoder: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        network = build(3, design=design)
    assert isinstance(network, VggFcn)
    assert sum(p.numel() for p in network.parameters()) == count == SPECS[design].golden_parameters
    layers = [layer for layer in network.decoder if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(layer.kernel_size[0], layer.out_channels) for layer in layers] == decoder
    assert [isinstance(layer, nn.ConvTranspose2d) for layer in layers] == [kernel == 2 for kernel, _ in decoder]
    assert network.head.kernel_size == (3, 3)


def test_shapes_of_the_final_design_for_its_input() -> None:
    shapes: list[tuple[int, ...]] = []
    with torch.device("meta"):
        network = build(3)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d):
                layer.register_forward_hook(lambda _layer, _inputs, output: shapes.append(tuple(output.shape[1:])))
        network(torch.zeros(1, 3, *FINAL.paper_input))
    full, half, quarter = (720, 1128), (360, 564), (180, 282)
    assert shapes == [
        *[(64, *full)] * 2,
        (64, *half),
        *[(128, *half)] * 2,
        (128, *quarter),
        *[(256, *quarter)] * 3,
        *[(256, *half)] * 2,
        (128, *full),
        (64, *full),
        (32, *full),
        (3, *full),
    ]


def test_the_convolutions_have_the_names_of_vgg16_in_torchvision() -> None:
    from torchvision.models import vgg16

    with torch.device("meta"):
        imagenet = {key: tensor.shape for key, tensor in vgg16(weights=None).state_dict().items()}
        for design, last in (("final", 12), ("exp1", 7)):
            own = {
                key: t.shape for key, t in build(3, design=design).state_dict().items() if key.startswith("features")
            }
            assert own.items() <= imagenet.items() and f"features.{last}.weight" in own
            assert len(own) == (12 if design == "final" else 8)


@pytest.mark.parametrize(("design", "reach"), [("final", 26), ("exp1", 18), ("exp2", 16), ("exp3", 14)])
def test_the_halo_is_as_wide_as_needed_and_not_wider(design: Design, reach: int) -> None:
    spec = SPECS[design]
    assert reach_px(build(2, design=design, width=4), spec.required_multiple, side_px=128) == (reach, reach)
    assert reach <= spec.halo_px < reach + spec.required_multiple
    assert spec.is_local


def test_a_relu_on_the_output_only_when_asked() -> None:
    plain, with_relu = lively(build(3, width=16)).eval(), build(3, width=16, final_relu=True).eval()
    with_relu.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        logits = plain(image)
        assert (logits < 0).any()
        assert torch.equal(with_relu(image), logits.relu())


def test_dropout_is_off_unless_asked_for() -> None:
    image = torch.rand(1, 3, 16, 16)
    for dropout, is_same in ((0.0, True), (0.5, False)):
        network = build(3, width=16, dropout=dropout).train()
        assert torch.equal(network(image), network(image)) == is_same


def test_each_design_names_its_own_multiple() -> None:
    with pytest.raises(ModelError, match="multiples of 4 pixels, not 18 x 20; pad to 20 x 20"):
        build(2, width=2)(torch.zeros(1, 3, 18, 20))
    build(2, width=2, design="exp3")(torch.zeros(1, 3, 18, 20))


@pytest.mark.parametrize("design", ["exp1", "exp2", "exp3", "final"])
def test_an_untrained_network_tells_places_of_an_image_apart(design: Design) -> None:
    torch.manual_seed(0)
    network = build(3, design=design, width=16).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 64, 64))
    assert float(logits.std(dim=(2, 3)).mean()) > 0.1
