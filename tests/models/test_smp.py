"""The family of segmentation-models-pytorch: every architecture, options that arrive, names that do not exist."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch
import torch
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.registry import get_model

ARCHITECTURES = sorted(segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING)


def build(**variant: Any) -> nn.Module:
    return get_model("smp").build(3, **{"encoder": "test_resnet", **variant})


@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if arch != "dpt"])
def test_every_architecture_gives_logits_of_the_size_of_the_image(arch: str) -> None:
    network = build(arch=arch)
    network.train()(torch.rand(1, 3, 128, 160)).mean().backward()
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 128, 160)).shape == (1, 3, 128, 160)


def test_a_vision_transformer_takes_any_size_when_asked_to() -> None:
    narrow = {"decoder_intermediate_channels": [8, 8, 8, 8], "decoder_fusion_channels": 8}
    vit = {"arch": "dpt", "encoder": "vit_tiny_patch16_224", "options": narrow}
    image = torch.rand(1, 3, 64, 96)
    with pytest.raises(ModelError, match=r"does not take 64 x 96 pixels .*dynamic_img_size"):
        build(**vit)(image)
    assert build(**vit, encoder_options={"dynamic_img_size": True})(image).shape == (1, 3, 64, 96)


def test_an_encoder_that_only_the_library_has() -> None:
    network = build(arch="segformer", encoder="mit_b0", options={"decoder_segmentation_channels": 16})
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)


def test_options_arrive() -> None:
    shallow = build(encoder_depth=3)
    assert len(shallow.get_submodule("model.decoder.blocks")) == 3
    assert shallow(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    narrow = build(encoder_depth=4, decoder_channels=[32, 16, 8, 4])
    assert narrow.get_submodule("model.segmentation_head.0").weight.shape[1] == 4
    attentive = build(options={"decoder_attention_type": "scse"})
    assert any(type(layer).__name__ == "SCSEModule" for layer in attentive.modules())
    pyramid = build(arch="fpn", encoder_depth=4, options={"decoder_pyramid_channels": 16})
    assert pyramid(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    assert build(arch="pspnet", encoder_depth=4)(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"arch": "unett"}, "no architecture 'unett'; did you mean 'unet'"),
        ({"arch": "swinunet3000"}, r"no architecture 'swinunet3000'; "),
        ({"encoder": "resnt18"}, "no encoder 'resnt18'; did you mean 'resnet18' or"),
        ({"encoder": "mit_b9"}, "no encoder 'mit_b9'; did you mean 'mit_b"),
        ({"encoder": "hf-hub:someone/something"}, "no encoder 'hf-hub:someone/something'; there are"),
        ({"options": {"decoder_atention_type": "scse"}}, "did you mean 'decoder_attention_type'"),
        ({"options": {"activation": "softmax"}}, "Unet has no option 'activation'"),
        (
            {"arch": "fpn", "decoder_channels": 8},
            "FPN has no decoder_channels; did you mean 'decoder_pyramid_channels'",
        ),
        ({"encoder_depth": 9}, r"cannot join architecture 'unet' with encoder 'test_resnet' .*\[1, 5\], got 9"),
        ({"encoder_depth": 4, "decoder_channels": [8, 4]}, "depth is 4, but you provide"),
        ({"encoder_options": {"dynamic": True}}, "cannot join .*'dynamic'"),
    ],
)
def test_what_does_not_exist_is_said_with_what_is_near(variant: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**variant)
