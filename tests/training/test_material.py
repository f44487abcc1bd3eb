"""From pictures to batches: targets, tiles, groups that are not parted, images that depend on seed and step alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass
from training.augmentation import augmentation
from training.batches import Batches
from training.distributed import World
from training.logs import Console
from training.material import Picture, Tiles, cut_up, training_and_validation
from training.plan import Plan, TestSet
from training.prepared import load
from training.tables import Table, mean_sd
from training.testing import channels_of, glands_of
from training.writing import write_set

PLAN = Plan(
    title="",
    model="unet",
    data="set",
    schema_id="cancer-stroma",
    crop_px=16,
    augmentation="strong",
    batch_size=4,
    accumulate=2,
    seed=3,
)


def picture(number: int, height: int = 40, width: int = 50) -> Picture:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Picture(str(number), str(number), image, rng.integers(0, 3, (height, width), dtype=np.uint8), float("nan"))


def test_tiles_reach_the_border_and_leave_out_what_nothing_is_known_of() -> None:
    known = picture(0)
    tiles = Tiles([known], 24, 16)
    assert len(tiles) == 2 * 3 and all(tiles[i].image.shape == (24, 24, 3) for i in range(6))
    assert (tiles[5].image == known.image[16:40, 26:50]).all()
    truth = np.full((40, 50), IGNORE, np.uint8)
    truth[:24, :24] = 1
    half = Picture("h", "h", known.image, truth, float("nan"))
    assert len(Tiles([half], 24, 24, 0.5)) == 1
    with pytest.raises(InputError, match="raise max_ignore"):
        Tiles([Picture("n", "n", known.image, np.full_like(truth, IGNORE), 0.0)], 24, 24, 0.9)


def test_a_small_picture_is_mirrored_without_truth() -> None:
    tile = Tiles([picture(1)], 0, least_px=48)[0]
    assert tile.image.shape == (48, 50, 3) and (tile.truth[:4] == IGNORE).all() and (tile.truth[4:44] < 3).all()
    assert (tile.image[3] == tile.image[5]).all()


def test_batches_do_not_depend_on_how_a_step_is_cut_or_shared() -> None:
    tiles = Tiles([picture(k) for k in range(7)], 0)
    alone = Batches(tiles, PLAN, augmentation(PLAN), World(0, 1, torch.device("cpu")))
    whole = alone.from_step(5, 1)
    images = next(whole).image
    assert images.shape == (8, 3, 16, 16)
    parts = alone.from_step(5, 4)
    assert torch.equal(torch.cat([next(parts).image for _ in range(4)]), images)
    threads = Batches(tiles, PLAN.change(workers=2), augmentation(PLAN), World(0, 1, torch.device("cpu")))
    ahead = threads.from_step(5, 1)
    assert torch.equal(next(ahead).image, images) and torch.equal(next(ahead).image, next(whole).image)
    ahead.close()
    ranks = [Batches(tiles, PLAN, augmentation(PLAN), World(rank, 2, torch.device("cpu"))) for rank in range(2)]
    shares = [batches.from_step(5, 2) for batches in ranks]
    together = [torch.cat([next(share).image for share in shares]) for _ in range(2)]
    assert torch.equal(torch.cat(together), images)


def test_every_picture_comes_once_in_an_epoch() -> None:
    tiles = Tiles([picture(k, 16, 16) for k in range(8)], 0)
    plan = PLAN.change(augmentation="none", accumulate=1)
    batches = Batches(tiles, plan, augmentation(plan), World(0, 1, torch.device("cpu")))
    assert batches.steps_per_epoch == 2
    seen = batches.from_step(0, 1)
    images = torch.cat([next(seen).image for _ in range(2)])
    assert len({tuple(image.flatten().tolist()) for image in images}) == 8


def test_a_held_out_share_takes_whole_groups(tmp_path: Path) -> None:
    with write_set(tmp_path / "set") as writer:
        for k in range(20):
            facts = {"key": str(k), "group": f"slide{k // 4}", "split": "train"}
            writer.add(facts, image=picture(k).image, labels=picture(k).truth)
    teach, steer = training_and_validation(PLAN, tmp_path)
    assert len(steer) == 4 and len(teach) == 16
    assert not {p.group for p in teach} & {p.group for p in steer}
    tiles = list(cut_up(iter(load(tmp_path, "set").take([0])), TestSet(data="set", tile_px=24, stride_px=16), 0.9))
    assert [t.facts["key"] for t in tiles][:2] == ["0_0_0", "0_0_16"] and tiles[0].image.shape == (24, 24, 3)


def test_classes_of_another_set_are_matched_by_name_or_as_the_test_says() -> None:
    known = tuple(LabelClass(k, name, "#000000") for k, name in enumerate(["background", "other tissue", "epithelium"]))
    glands = (LabelClass(0, "background", "#000000"), LabelClass(1, "gland", "#111111"))
    test = TestSet(data="glas", regroup={"gland": ("epithelium",), "background": ("background", "other tissue")})
    assert channels_of(glands, known, test) == [[0, 1], [2]]
    with pytest.raises(InputError, match="no class 'gland' to compare"):
        channels_of(glands, known, TestSet(data="glas"))


def test_glands_lose_their_holes_and_specks() -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:60, 10:60], mask[30:34, 30:34], mask[80:85, 80:85] = True, False, True
    glands = glands_of(mask, 0.62)
    assert glands.max() == 1 and glands[32, 32] == 1 and glands[82, 82] == 0
    assert glands_of(mask, 6.2).max() == 2


def test_a_table_is_written_for_people_and_programs(tmp_path: Path) -> None:
    table = Table("t", "Title", ("class", "Dice"), (("a|b", mean_sd(0.77, 0.23, mark="*")), ("c", float("nan"))))
    table.write(tmp_path)
    assert (tmp_path / "t.csv").read_text() == "class,Dice\na|b,0.770 (0.230)*\nc,nan\n"
    assert "| a/b | 0.770 (0.230)* |\n| c | – |" in (tmp_path / "t.md").read_text()


def test_a_terminal_gets_a_bar_and_a_file_only_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Console()
    plain.step(1, 2, 0.5)
    plain.tell("half way")
    found = capsys.readouterr()
    assert found.out == "half way\n" and found.err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal = Console()
    terminal.step(2, 2, 0.25)
    assert "[##############################] step 2/2, loss 0.25" in capsys.readouterr().err
