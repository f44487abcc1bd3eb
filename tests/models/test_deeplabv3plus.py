"""DeepLabv3+: what the library's network shares with the paper's, and training on one image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.zoo._norms import ToleratingBatchNorm2d, tolerate_single_values


def full() -> nn.Module:
    with torch.device("meta"):
        return get_model("deeplabv3plus").build()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_only_the_decoder_differs_from_the_paper() -> None:
    network = full()
    paper_decoder = (304 * 256 * 9 + 512) + (256 * 256 * 9 + 512)
    library_decoder = (256 * 9 + 256 * 256 + 512) + (304 * 9 + 304 * 256 + 512)
    assert count(network) == 58_198_100 == 59_339_940 - paper_decoder + library_decoder
    assert count(network.get_submodule("model.encoder")) == 42_500_160
    pyramid = network.get_submodule("model.decoder.aspp.0")
    assert count(pyramid) == 2048 * 256 * (1 + 3 * 9 + 1) + 5 * 512 + 1280 * 256 + 512
    dropout = [layer.p for layer in pyramid.modules() if isinstance(layer, nn.Dropout)]
    dilations = [layer.dilation[0] for layer in pyramid.modules() if isinstance(layer, nn.Conv2d)]
    assert dropout == [0.1] and dilations == [1, 6, 12, 18, 1, 1]


def test_the_last_stage_is_dilated_but_for_its_first_block() -> None:
    stage = full().get_submodule("model.encoder.model.layer4")
    spatial = [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    assert [layer.dilation for layer in spatial] == [(1, 1), (2, 2), (2, 2)]
    assert all(layer.stride == (1, 1) for layer in stage.modules() if isinstance(layer, nn.Conv2d))


def test_features_have_the_sizes_of_the_paper() -> None:
    network = full()
    shapes: list[tuple[int, ...]] = []

    def note(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    network.get_submodule("model.decoder.aspp.0").register_forward_hook(note)
    with torch.no_grad():
        features = network.get_submodule("model.encoder.model")(torch.zeros(1, 3, 512, 512, device="meta"))
        logits = network(torch.zeros(1, 3, 512, 512, device="meta"))
    assert [tuple(x.shape[1:]) for x in features[1:]] == [
        (256, 128, 128),
        (512, 64, 64),
        (1024, 32, 32),
        (2048, 32, 32),
    ]
    assert shapes == [(256, 32, 32)] and logits.shape == (1, 4, 512, 512)


def test_one_value_is_normalised_by_the_running_statistics() -> None:
    torch.manual_seed(0)
    layer, plain = ToleratingBatchNorm2d(4), nn.BatchNorm2d(4)
    layer.running_mean, layer.running_var = torch.randn(4), torch.rand(4) + 0.5
    plain.load_state_dict(layer.state_dict())
    one, two = torch.randn(1, 4, 1, 1), torch.randn(2, 4, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain.train()(one)
    torch.testing.assert_close(layer.train()(one), plain.eval()(one))
    assert torch.equal(layer.running_mean, plain.running_mean)
    torch.testing.assert_close(layer(two), plain.train()(two))
    torch.testing.assert_close(layer.running_var, plain.running_var)


def test_only_plain_layers_become_tolerant() -> None:
    class Own(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.BatchNorm2d(1), Own(1))
    tolerate_single_values(network)
    assert [type(layer) for layer in network] == [ToleratingBatchNorm2d, Own]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"encoder": "resnet1O1"}, "did you mean 'resnet101'"),
        ({"encoder": "vgg11"}, "'vgg11' cannot be built with .*output_stride=16"),
        ({"output_stride": 4}, "output stride 4; choose 8 or 16"),
    ],
)
def test_what_does_not_fit_is_said(variant: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        get_model("deeplabv3plus").build(**variant)


def test_a_finer_output_stride_keeps_finer_features() -> None:
    network = get_model("deeplabv3plus").build(3, encoder="test_resnet", output_stride=8).eval()
    with torch.no_grad():
        assert network.get_submodule("model.encoder")(torch.rand(1, 3, 64, 64))[-1].shape[-2:] == (8, 8)
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
