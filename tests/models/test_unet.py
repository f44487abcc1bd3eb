"""The U-Net's numbers, and that its halo is wide enough but not wider than needed."""

from __future__ import annotations

import pytest
import torch

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


def touched_px(model: torch.nn.Module, at: int) -> tuple[int, int]:
    """First and last column that the output in column ``at`` can feel, seen by its gradient."""
    image = torch.rand(1, 3, 16, 512, dtype=torch.float64, requires_grad=True)
    model(image)[0, :, :, at].sum().backward()
    assert image.grad is not None
    touched = torch.nonzero(image.grad.abs().sum(dim=(0, 1, 2)) > 0).flatten()
    return int(touched.min()), int(touched.max())


def test_halo_covers_what_a_core_on_the_pooling_grid_can_feel() -> None:
    model = build(2, width=2).double().eval()
    for parameter in model.parameters():  # positive weights: nothing cancels, no ReLU is shut
        parameter.data.abs_().add_(0.01)
    model.pool = torch.nn.AvgPool2d(2)  # feels both pixels of a pair, where the maximum feels one of them
    start, stop = 256, 256 + SPEC.required_multiple
    touched = [touched_px(model, at) for at in range(start, stop)]
    before = start - min(first for first, _ in touched)
    after = max(last for _, last in touched) + 1 - stop
    assert before == after == 94
    assert before <= SPEC.halo_px < before + SPEC.required_multiple


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
