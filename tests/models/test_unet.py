"""The U-Net's numbers, and that its halo is wide enough but not wider than needed."""

from __future__ import annotations

import pytest
import torch
from receptive import reach_px

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.zoo.unet import SPEC, UNet, build


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_of_the_paper() -> None:
    assert count(build(6)) == 31_032_070
    assert count(build(6, batch_norm=True)) == 31_043_846
    assert count(build(len(SPEC.classes))) == SPEC.golden_parameters


def test_width_divides_the_work_and_fits_the_starter_budget() -> None:
    starter = build(3, width=16, batch_norm=True)
    assert count(starter) == 1_944_083
    assert count(starter) * 2 < 8 << 20  # bytes in half precision


def test_channels_of_every_level() -> None:
    model = build(2)
    assert isinstance(model, UNet)
    assert [block[0].out_channels for block in model.down] == [64, 128, 256, 512, 1024]
    assert [block[0].in_channels for block in model.join] == [1024, 512, 256, 128]


def test_other_sizes_are_refused_with_the_size_to_pad_to() -> None:
    with pytest.raises(ModelError, match=r"multiples of 16 pixels, not 40 x 48; pad to 48 x 48"):
        build(2, width=2)(torch.zeros(1, 3, 40, 48))


def test_halo_covers_what_a_core_on_the_pooling_grid_can_feel() -> None:
    multiple = SPEC.required_multiple
    assert reach_px(build(2, width=2), multiple) == (94, 94)
    assert 94 <= SPEC.halo_px < 94 + multiple


def test_tile_with_halo_equals_whole() -> None:
    torch.manual_seed(0)
    model = build(3, width=4, batch_norm=True).eval()
    image = torch.rand(1, 3, 64, 512, generator=torch.Generator().manual_seed(1))
    start, stop = 192, 320
    with torch.no_grad():
        whole = model(image)[..., start:stop]
        tile = model(image[..., start - SPEC.halo_px : stop + SPEC.halo_px])
    core = tile[..., SPEC.halo_px : -SPEC.halo_px]
    torch.testing.assert_close(core, whole, atol=1e-5, rtol=1e-5)
