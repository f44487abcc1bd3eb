"""Regressors of cellularity: sizes inside, step 1 in step 2, scores."""

from __future__ import annotations

import pytest
import torch
from networks import lively
from torch import Tensor, nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.registry import get_model, list_models
from napari_histoseg.models.zoo.cellularity_guided import guide_by

SCORERS = [model.spec.id for model in list_models() if model.spec.task == "regression"]
COUNTS = {
    "cellularity_guided": 104_340_609,
    "cellularity_resnet101": 42_502_209,
    "cellularity_resnet152": 58_145_857,
    "cellularity_resnext101": 42_130_753,
    "cellularity_seresnet101": 47_279_921,
    "cellularity_senet154": 113_042_033,
    "cellularity_nasnet": 84_724_183,
}


def sizes(network: nn.Module, *names: str) -> dict[str, tuple[int, ...]]:
    """Shapes (C, H, W) of what layers give, of a field of 512 px."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> object:
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = tuple(output.shape[1:])

        return hook

    for name in names:
        network.get_submodule(name).register_forward_hook(note(name))
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 512, 512, device="meta")).shape == (1,)
    return found


def test_the_counts_are_those_of_the_papers_networks() -> None:
    assert {
        model.spec.id: model.spec.golden_parameters for model in list_models() if model.spec.id in SCORERS
    } == COUNTS


@pytest.mark.parametrize("encoder", ["resnet26", "resnext50_32x4d", "seresnet50", "legacy_senet154"])
def test_the_first_stage_halves_the_resolution(encoder: str) -> None:
    """With encoders of the same blocks as those of the paper, but fewer of them where timm has such."""
    with torch.device("meta"):
        network = get_model("cellularity_resnet101").build(encoder=encoder)
    found = sizes(network, *(f"encoder.layer{i}" for i in (1, 2, 3, 4)))
    assert list(found.values()) == [(256, 64, 64), (512, 32, 32), (1024, 16, 16), (2048, 8, 8)]


def test_nasnet_gets_an_image_of_half_the_size() -> None:
    seen: list[Tensor] = []
    network = get_model("cellularity_nasnet").build(encoder="test_efficientnet").eval()
    network.get_submodule("encoder").register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 3, 128, 64)
    with torch.no_grad():
        network(image)
    torch.testing.assert_close(seen[0], image.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-2, -1)))


def test_the_guided_network_joins_both_at_a_sixteenth() -> None:
    with torch.device("meta"):
        network = get_model("cellularity_guided").build()
    names = ("pyramid", "regression.layer1", "regression.layer2", "fuse", "regression.layer3", "regression.layer4")
    assert sizes(network, *names) == {
        "pyramid": (256, 32, 32),
        "regression.layer1": (256, 64, 64),
        "regression.layer2": (512, 32, 32),
        "fuse": (512, 32, 32),
        "regression.layer3": (1024, 16, 16),
        "regression.layer4": (2048, 8, 8),
    }


def test_step_1_becomes_the_guide() -> None:
    step1 = lively(get_model("deeplabv3plus").build(4, encoder="test_resnet"), seed=5).eval()
    network = get_model("cellularity_guided").build(encoder="resnet26", guide="test_resnet").eval()
    regression = {key: value.clone() for key, value in network.get_submodule("regression").state_dict().items()}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        guide_by(network, step1)
        seen = network.get_submodule("pyramid")(network.get_submodule("guide")(image)[-1])
        features = step1.get_submodule("model.encoder")(image)
        torch.testing.assert_close(seen, step1.get_submodule("model.decoder.aspp.0")(features[-1]))
        assert not torch.equal(network(image), before)
    for key, value in network.get_submodule("regression").state_dict().items():
        assert torch.equal(value, regression[key])


def test_what_cannot_guide_is_said() -> None:
    network = get_model("cellularity_guided").build(encoder="resnet26", guide="test_resnet")
    with pytest.raises(ModelError, match="another encoder than the guide 'test_resnet'"):
        guide_by(network, get_model("deeplabv3plus").build(4, encoder="resnet18"))
    for wrong in (get_model("smp").build(4, encoder="test_resnet"), nn.Conv2d(3, 3, 1)):
        with pytest.raises(ModelError, match="only by a deeplabv3plus"):
            guide_by(network, wrong)


def test_both_encoders_of_the_guided_network_learn() -> None:
    network = get_model("cellularity_guided").build(encoder="resnet26", guide="test_resnet").train()
    (network(torch.rand(2, 3, 64, 64)) - torch.tensor([0.0, 1.0])).abs().mean().backward()
    for name in ("guide.model.conv1.0.weight", "pyramid.project.0.weight", "regression.conv1.weight", "head.weight"):
        gradient = network.get_parameter(name).grad
        assert gradient is not None and gradient.abs().max() > 0, name


@pytest.mark.parametrize(
    ("model_id", "variant", "message"),
    [
        ("cellularity_resnet101", {"encoder": "resnet18"}, "'resnet18' cannot be given a stride; .*resnet26"),
        ("cellularity_resnet101", {"encoder": "resnet50d"}, "'resnet50d' cannot be given a stride"),
        ("cellularity_nasnet", {"encoder": "nasnetlarge"}, "did you mean 'nasnetalarge'"),
        ("cellularity_guided", {"encoder": "test_efficientnet", "guide": "test_resnet"}, "needs a ResNet of timm"),
        ("cellularity_resnet101", {"num_classes": 2, "encoder": "resnet26"}, "one score, not 2"),
    ],
)
def test_what_does_not_fit_is_said(model_id: str, variant: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        get_model(model_id).build(**variant)
