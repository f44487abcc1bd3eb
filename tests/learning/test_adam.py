from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from napari_histoseg.learning.adam import Adam


def test_same_numbers_as_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(40, 8, 5)
    own, reference = Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for step, batch in enumerate(inputs):
        for model, optimizer in ((ours, own), (theirs, reference)):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            model(batch).square().sum().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_parameters_without_gradient_stay() -> None:
    layer = nn.Linear(2, 2)
    before = layer.bias.detach().clone()
    optimizer = Adam(layer.parameters(), lr=0.1)
    layer.weight.square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.bias, before)


def test_fine_tuning_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from torch import nn\n"
        "import napari_histoseg.learning.finetune\n"
        "from napari_histoseg.learning.optimizers import OPTIMIZERS, make_optimizer\n"
        "from napari_histoseg.learning.batch import Batch\n"
        "from napari_histoseg.learning.loss_registry import build_loss\n"
        "layer = nn.Conv2d(3, 3, 3)\n"
        "batch = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 6, 6).long())\n"
        "for name in OPTIMIZERS:\n"
        "    optimizer = make_optimizer(name, layer.parameters(), lr=0.1)\n"
        "    build_loss([{'name': 'focal_tversky'}])(layer(batch.image), batch).backward()\n"
        "    nn.utils.clip_grad_norm_(layer.parameters(), 1.0)\n"
        "    optimizer.step()\n"
        "assert 'torch._dynamo' not in sys.modules and 'triton' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
