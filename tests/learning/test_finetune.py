from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.jobs.job import Progress, run_job
from napari_histoseg.learning import finetune as module
from napari_histoseg.learning import studio
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.finetune import FineTuneRequest, FineTuneResult, blended, finetune, finetune_loss
from napari_histoseg.learning.fit import FitStep
from napari_histoseg.learning.gate import Verdict
from napari_histoseg.learning.guard import pull_to_parent
from napari_histoseg.learning.losses import cross_entropy
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.learning.regime import regime_of
from napari_histoseg.learning.snapshot import EditSnapshot, TrainingImage
from napari_histoseg.models.weights import Weights, WeightsCard, build_network

PLAN = FineTunePlan(steps=12, minutes=60, batch_size=3, tile_px=32, learning_rate=3e-3)
CARD = WeightsCard("tiny", "unet", EPITHELIUM.classes, 1.0, variant={"width": 4, "batch_norm": True})
PARENT = Weights("tiny", "unet", None, CARD)


def _image(seed: int, shape: tuple[int, int] = (96, 128)) -> ImageRef:
    """Dark squares on a bright ground: something that can be learned in a few steps."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(200, 255, (*shape, 3), dtype=np.uint8)
    pixels[20:60, 30:90] = rng.integers(0, 60, (40, 60, 3), dtype=np.uint8)
    return image_from_array(pixels, name=f"image {seed}", mpp=1.0)


def _item(strokes: list[tuple[int, int, int]], seed: int = 0, state: int = 1) -> TrainingImage:
    """Squares of 8 px at (y, x) with a class."""
    image = _image(seed)
    labels, states = np.full(image.shape, IGNORE, np.uint8), np.zeros(image.shape, np.uint8)
    for y, x, class_id in strokes:
        labels[y : y + 8, x : x + 8], states[y : y + 8, x : x + 8] = class_id, state
    return TrainingImage(image, labels, states)


THREE = [(25, 35, 2), (45, 70, 2), (75, 10, 1)]
MANY = [(y, x, 2 if 20 <= y < 52 and 30 <= x < 80 else 1) for y in (4, 24, 44, 76) for x in (4, 40, 64, 100)]


def _request(*items: TrainingImage, plan: FineTunePlan = PLAN, others: tuple[ImageRef, ...] = ()) -> FineTuneRequest:
    return FineTuneRequest(PARENT, EditSnapshot(items, EPITHELIUM.classes, others), plan)


def _run(request: FineTuneRequest) -> tuple[FineTuneResult, list[Progress]]:
    heard: list[Progress] = []
    return run_job(finetune(request), heard.append), heard


# what teaches --------------------------------------------------------------------------------------------------------


def test_the_gradient_is_exactly_zero_where_nobody_vouched() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    labels = torch.full((2, 16, 16), IGNORE)
    labels[0, 3:6, 3:9] = 2
    weight = torch.rand(2, 16, 16) + 0.1
    finetune_loss(logits, Batch(torch.zeros(2, 3, 16, 16), labels, weight), PLAN).backward()
    assert logits.grad is not None
    touched = (logits.grad != 0).any(dim=1)
    assert torch.equal(touched, labels != IGNORE)


def test_the_soft_target_acts_on_guard_pixels_only() -> None:
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    soft_weight = torch.zeros(1, 8, 8)
    soft_weight[0, :2] = 1
    batch = Batch(
        torch.zeros(1, 3, 8, 8),
        torch.full((1, 8, 8), IGNORE),
        torch.zeros(1, 8, 8),
        torch.full((1, 3, 8, 8), 1 / 3),
        soft_weight,
    )
    finetune_loss(logits, batch, PLAN).backward()
    assert logits.grad is not None
    assert torch.equal((logits.grad != 0).any(dim=1), soft_weight > 0)


def test_unreviewed_labels_change_nothing_bit_for_bit() -> None:
    clean, dirty = _item(THREE), _item(THREE)
    dirty.labels[dirty.state == 0] = np.random.default_rng(1).integers(0, 3, int((dirty.state == 0).sum()))
    (a, _), (b, _) = _run(_request(clean)), _run(_request(dirty))
    assert a.losses == b.losses
    assert all(torch.equal(a.state[key], b.state[key]) for key in a.state)


def test_edited_labels_do_change_the_result() -> None:
    (a, _), (b, _) = _run(_request(_item(THREE))), _run(_request(_item([(y, x, 3 - c) for y, x, c in THREE])))
    assert not all(torch.equal(a.state[key], b.state[key]) for key in a.state)


# what is kept --------------------------------------------------------------------------------------------------------


def test_batch_norm_statistics_stay_the_parents_and_evaluation_does_not_break() -> None:
    network = build_network(PARENT).eval()  # evaluation mode, as the viewer will run it
    result, _ = _run(_request(_item(THREE), plan=PLAN.model_copy(update={"steps": 40})))
    before = network.state_dict()
    statistics = [key for key in before if "running_" in key or "num_batches" in key]
    assert statistics
    assert all(torch.equal(result.state[key], before[key]) for key in statistics)
    image = torch.from_numpy(_image(0).read(0, Box(0, 0, 96, 128))).movedim(-1, 0)[None].float() / 255
    item = _item(THREE)
    known = torch.from_numpy(item.state > 0)
    labels = torch.from_numpy(np.where(item.state > 0, item.labels, IGNORE)).long()[None]
    assert known.any()

    def mistake() -> float:
        with torch.inference_mode():
            return cross_entropy(network(image), labels).item()

    of_parent = mistake()
    network.load_state_dict(dict(result.state))
    assert mistake() < of_parent


def test_the_pull_to_the_parent_is_half_the_squared_distance() -> None:
    layer = nn.Linear(3, 2)
    parent = {key: value.detach().clone() for key, value in layer.state_dict().items()}
    assert pull_to_parent(layer, parent).item() == 0
    with torch.no_grad():
        layer.bias += 2.0
    distance = pull_to_parent(layer, parent)
    distance.backward()
    assert distance.item() == pytest.approx(4.0)
    assert layer.bias.grad is not None and layer.bias.grad.tolist() == pytest.approx([2.0, 2.0])


def test_a_strong_pull_and_a_strong_soft_target_keep_the_parent_nearer() -> None:
    def distance(**changes: float) -> float:
        plan = PLAN.model_copy(update={"steps": 15, "distill_weight": 0.0, "anchor": 0.0, **changes})
        result, _ = _run(_request(_item(THREE), plan=plan))
        before = build_network(PARENT).state_dict()
        return sum(float((result.state[k] - before[k]).float().square().sum()) for k in before)

    free = distance()
    assert distance(anchor=100.0) < 0.5 * free
    assert distance(distill_weight=20.0) < free


def test_a_blend_lies_between_parent_and_trained_weights() -> None:
    old, new = {"w": torch.zeros(3), "n": torch.tensor(4)}, {"w": torch.ones(3), "n": torch.tensor(9)}
    mixed = blended(old, new, 0.25)
    assert mixed["w"].tolist() == [0.25] * 3
    assert mixed["n"].item() == 4


def test_a_job_cancelled_during_a_step_breaks_off_between_two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    job = finetune(_request(_item(THREE)))
    next(job)

    class Broken(Exception):
        pass

    def cancel() -> None:
        raise Broken

    monkeypatch.setattr(studio, "check_cancelled", cancel)
    with pytest.raises(Broken):
        run_job(job)


# how it runs ---------------------------------------------------------------------------------------------------------


def test_three_strokes_improve_what_they_show_and_their_number_is_called_unproven() -> None:
    result, heard = _run(_request(_item(THREE), plan=PLAN.model_copy(update={"steps": 30, "max_change": 1.0})))
    seen = {s.kind: s for s in result.scores}["seen corrections"]
    assert seen.after >= seen.before
    assert seen.regions == 3
    assert "too few" in result.verdict.reason
    steps = [p.payload for p in heard if isinstance(p.payload, FitStep)]
    assert [s.step for s in steps] == list(range(1, 31))
    assert [s.loss for s in steps] == list(result.losses)


def test_many_corrections_are_judged_on_held_out_ones_that_are_remembered() -> None:
    result, _ = _run(_request(_item(MANY)))
    kinds = {s.kind for s in result.scores}
    assert "corrections" in kinds and "seen corrections" not in kinds
    assert result.held_out
    card = result.to_card()
    assert card["verdict"] in ("promoted", "refused")
    assert card["metrics"]["corrections"]["n"] == len(result.held_out)
    assert len(card["finetune"]["held_out"]) == len(result.held_out)
    second = replace(_request(_item(MANY)).snapshot, held_out=result.held_out)
    again, _ = _run(FineTuneRequest(PARENT, second, PLAN))
    assert again.held_out == result.held_out


def test_a_reference_folder_judges_and_never_teaches() -> None:
    request = _request(_item(THREE))
    reference = _item(MANY, seed=5, state=2)
    with_reference = replace(request, snapshot=replace(request.snapshot, reference=(reference,)))
    (a, _), (b, _) = _run(request), _run(with_reference)
    assert a.losses == b.losses
    assert {s.kind for s in b.scores} - {s.kind for s in a.scores} == {"folder"}


def test_one_class_alone_is_enough() -> None:
    result, _ = _run(_request(_item([(25, 35, 2)])))
    assert result.steps == PLAN.steps


def test_one_thread_computes_beside_a_viewer_and_the_callers_count_is_back_at_every_yield(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = torch.get_num_threads()
    inside: list[int] = []
    build = studio.build_network

    def spied(weights: Weights) -> nn.Module:
        network = build(weights)
        network.register_forward_hook(lambda *_: inside.append(torch.get_num_threads()))
        return network

    monkeypatch.setattr(studio, "build_network", spied)
    torch.set_num_threads(3)
    try:
        job = finetune(replace(_request(_item(THREE)), is_beside_viewer=True))
        for _ in job:
            assert torch.get_num_threads() == 3
        assert set(inside) == {1}
    finally:
        torch.set_num_threads(threads)


def test_closing_the_job_between_any_two_steps_leaves_nothing_behind() -> None:
    threads = torch.get_num_threads()
    for count in (1, 3, 20):
        job = finetune(replace(_request(_item(THREE)), is_beside_viewer=True))
        list(islice(job, count))
        job.close()
        assert torch.get_num_threads() == threads
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_the_time_limit_ends_the_training_and_still_gives_a_result() -> None:
    plan = PLAN.model_copy(update={"steps": 20_000, "minutes": 0.01})
    result, _ = _run(_request(_item(THREE), plan=plan))
    assert 0 < result.steps < 20_000


def test_a_refused_candidate_is_tried_once_nearer_to_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [Verdict(False, "too far"), Verdict(True, "fine")]
    monkeypatch.setattr(module, "judge", lambda *args, **kwargs: verdicts.pop(0))
    result, _ = _run(_request(_item(THREE)))
    assert result.blend == PLAN.blend / 2
    assert result.verdict.promoted and not verdicts


def test_a_candidate_refused_twice_is_kept_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "judge", lambda *args, **kwargs: Verdict(False, "Not activated: worse."))
    result, _ = _run(_request(_item(THREE)))
    assert result.to_card()["verdict"] == "refused"
    assert result.to_card()["reason"] == "Not activated: worse."
    assert result.blend == PLAN.blend / 2


# bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strokes", [[], [(10, 10, IGNORE)]])
def test_nothing_to_learn_from_is_a_sentence(strokes: list[tuple[int, int, int]]) -> None:
    with pytest.raises(InputError, match="paint over some mistakes"):
        _run(_request(_item(strokes)))


def test_a_class_the_model_lacks_is_a_sentence_alone_and_a_note_among_others() -> None:
    classes = (*EPITHELIUM.classes, LabelClass(5, "necrosis", "#112233"))
    alone = EditSnapshot((_item([(10, 10, 5)]),), classes)
    with pytest.raises(InputError, match=r"no class 'necrosis' \(64 px\); it knows background, other tissue"):
        _run(FineTuneRequest(PARENT, alone, PLAN))
    mixed = EditSnapshot((_item([(10, 10, 5), *THREE]),), classes)
    result, _ = _run(FineTuneRequest(PARENT, mixed, PLAN))
    assert len(result.notes) == 1 and "'necrosis' (64 px)" in result.notes[0]


def test_a_full_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> object:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(studio, "probabilities", full)
    with pytest.raises(ResourceError, match="lower 'Tiles per step'"):
        _run(_request(_item(THREE)))


def test_a_network_without_batch_norm_is_fine_tuned_just_the_same() -> None:
    variant = {"width": 8, "n_blocks": 1}
    card = WeightsCard("tiny", "spade_segresnet", EPITHELIUM.classes, 1.0, variant=variant)
    parent = Weights("tiny", "spade_segresnet", None, card)
    snapshot = EditSnapshot((_item([(25, 35, 2)]),), EPITHELIUM.classes)
    result, _ = _run(FineTuneRequest(parent, snapshot, PLAN.model_copy(update={"steps": 2})))
    assert result.steps == 2
    assert all(value.isfinite().all() for value in result.state.values())


# networks of every kind ----------------------------------------------------------------------------------------------


def _tiny(model_id: str, **variant: object) -> Weights:
    card = WeightsCard("tiny", model_id, EPITHELIUM.classes, 1.0, variant=variant)
    return Weights("tiny", model_id, None, card)


def test_a_network_of_one_size_learns_from_tiles_of_that_size() -> None:
    plan = PLAN.model_copy(update={"steps": 1})
    parent = _tiny("micronet_252", size_px=252, width=1)
    result, _ = _run(FineTuneRequest(parent, EditSnapshot((_item(THREE),), EPITHELIUM.classes), plan))
    assert result.plan.tile_px == 252 and result.plan.batch_size == 1
    assert result.notes == ("Micro-Net-252 learns from tiles of 252 px, 1 per step.",)
    assert all(value.isfinite().all() for value in result.state.values())


def test_a_network_with_context_learns_from_what_its_centre_sees() -> None:
    parent = _tiny("unet", width=2, context_margin=16)
    snapshot = EditSnapshot((_item(THREE),), EPITHELIUM.classes)
    result, _ = _run(FineTuneRequest(parent, snapshot, PLAN))
    assert result.plan.tile_px == 64 and result.steps == PLAN.steps
    batch = Batch(torch.rand(1, 3, 64, 64), torch.arange(64 * 64).view(1, 64, 64), soft=torch.rand(1, 2, 64, 64))
    central = regime_of(parent, PLAN).central(batch)
    assert torch.equal(central.labels, batch.labels[:, 16:-16, 16:-16]) and central.image.shape == (1, 3, 64, 64)
    assert central.weight is None and central.soft is not None and central.soft.shape == (1, 2, 32, 32)


def test_auxiliary_outputs_learn_too() -> None:
    parent = _tiny("unetpp_deep", width=4, deep_supervision=True)
    snapshot = EditSnapshot((_item(THREE),), EPITHELIUM.classes)
    plan = PLAN.model_copy(update={"steps": 2, "anchor": 0.0})
    result, _ = _run(FineTuneRequest(parent, snapshot, plan))
    before = build_network(parent).state_dict()
    assert all(not torch.equal(result.state[f"heads.{k}.weight"], before[f"heads.{k}.weight"]) for k in range(4))


@pytest.mark.parametrize(
    ("model_id", "message"),
    [("haematoxylin_watershed", "does not learn"), ("cellularity_resnet101", "cannot learn from painted labels")],
)
def test_what_cannot_learn_from_labels_is_a_sentence(model_id: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _run(FineTuneRequest(_tiny(model_id), EditSnapshot((_item(THREE),), EPITHELIUM.classes), PLAN))
