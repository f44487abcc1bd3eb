from __future__ import annotations

import math

import pytest

from napari_histoseg.learning.gate import Score, ScoreKind, Verdict, judge


def _score(kind: ScoreKind, before: float, after: float) -> Score:
    return Score(kind, before, after, regions=5, pixels=1234)


def _judge(*scores: Score) -> Verdict:
    return judge(scores, tolerance=0.01, max_change=0.3)


def test_a_better_candidate_is_activated_with_both_numbers_and_n() -> None:
    verdict = _judge(_score("corrections", 0.31, 0.78), _score("verified", 0.95, 0.945))
    assert verdict.promoted
    for part in ("0.310 before", "0.780 after", "0.950 before", "0.945 after", "5 regions, 1234 px"):
        assert part in verdict.reason


@pytest.mark.parametrize("kind", ["corrections", "seen corrections", "verified", "folder"])
def test_a_fall_beyond_the_tolerance_is_refused_and_named(kind: ScoreKind) -> None:
    verdict = _judge(_score("corrections", 0.3, 0.9), _score(kind, 0.90, 0.88))
    assert not verdict.promoted
    assert "0.900 before, 0.880 after" in verdict.reason
    assert "0.9 after" not in verdict.reason.replace("0.900", "")  # what went well is not the reason


def test_a_fall_within_the_tolerance_is_allowed() -> None:
    assert _judge(_score("verified", 0.90, 0.89)).promoted


def test_too_much_change_elsewhere_is_refused() -> None:
    assert _judge(_score("corrections", 0, 1), _score("agreement", 1.0, 0.71)).promoted
    verdict = _judge(_score("corrections", 0, 1), _score("agreement", 1.0, 0.6))
    assert not verdict.promoted
    assert "40% of uncorrected pixels changed class" in verdict.reason


def test_a_candidate_that_is_no_number_is_refused() -> None:
    verdict = _judge(_score("corrections", 0.5, math.nan))
    assert not verdict.promoted
    assert "lower the learning rate" in verdict.reason


def test_too_few_corrections_to_hold_out_are_said() -> None:
    verdict = _judge(_score("seen corrections", 0.0, 1.0), _score("agreement", 1.0, 0.98))
    assert verdict.promoted
    assert "too few" in verdict.reason
