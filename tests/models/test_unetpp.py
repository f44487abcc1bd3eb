"""UNet++: counts, the grid of nodes, deep supervision and what aligned corners mean for tiles."""

from __future__ import annotations

import pytest
import torch
from networks import lively

from napari_histoseg.models.outputs import NetworkOutput, auxiliary_outputs, main_output
from napari_histoseg.models.zoo.unetpp import DEEP, SPEC, UNetPlusPlus, build


def with_all_heads(network: torch.nn.Module, image: torch.Tensor) -> NetworkOutput:
    """The output as in training, but with the statistics of evaluation, so that both can be compared."""
    network.eval()
    network.training = True
    output: NetworkOutput = network(image)
    return output


@pytest.mark.parametrize(("deep", "count"), [(False, 9_163_494), (True, 9_164_088)])
def test_counts_with_six_outputs(deep: bool, count: int) -> None:
    with torch.device("meta"):
        network = build(6, deep_supervision=deep)
    assert sum(p.numel() for p in network.parameters()) == count


def test_each_node_takes_all_before_it_and_the_one_below() -> None:
    widths = (32, 64, 128, 256, 512)
    with torch.device("meta"):
        network = build(2)
    assert isinstance(network, UNetPlusPlus)
    for j, column in enumerate(network.columns, start=1):
        assert [node[0].in_channels for node in column] == [j * widths[i] + widths[i + 1] for i in range(5 - j)]
        assert [node[3].out_channels for node in column] == list(widths[: 5 - j])


def test_deep_supervision_trains_four_heads_and_averages_their_probabilities() -> None:
    network = lively(build(3, width=4, deep_supervision=True))
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        trained = with_all_heads(network, image)
        tested = network.eval()(image)
    heads = [main_output(trained), *auxiliary_outputs(trained)]
    assert len(heads) == 4 and all(head.shape == (2, 3, 32, 32) for head in heads)
    expected = torch.stack([head.softmax(dim=1) for head in heads]).mean(dim=0)
    torch.testing.assert_close(tested.softmax(dim=1), expected)
    mean_of_logits = torch.stack(heads).mean(dim=0).softmax(dim=1)
    assert (tested.softmax(dim=1) - mean_of_logits).abs().max() > 1e-3, "logits were averaged, not probabilities"


def test_the_deep_network_without_its_extra_heads_is_the_plain_one() -> None:
    deep, plain = lively(build(2, width=4, deep_supervision=True)), build(2, width=4).eval()
    state = deep.state_dict()
    shared = {key: value for key, value in state.items() if not key.startswith("heads.")}
    plain.load_state_dict(shared | {f"heads.0.{name}": state[f"heads.3.{name}"] for name in ("weight", "bias")})
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(main_output(with_all_heads(deep, image)), plain(image))


def test_a_tile_differs_from_the_whole_so_tiles_must_be_blended() -> None:
    network = lively(build(2, width=4)).eval()
    image = torch.rand(1, 3, 32, 512)
    with torch.no_grad():
        whole, tile = network(image), network(image[..., 64:448])
    assert (whole[..., 240:272] - tile[..., 176:208]).abs().max() > 1e-3
    assert not SPEC.is_local and not DEEP.is_local
