"""The acceptance gate: is a candidate no worse than its parent, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

ScoreKind = Literal["corrections", "seen corrections", "verified", "folder", "agreement"]

_NAMES: dict[ScoreKind, str] = {
    "corrections": "held-out corrections",
    "seen corrections": "the corrections it learned from",
    "verified": "held-out verified fields",
    "folder": "the reference folder",
    "agreement": "uncorrected pixels",
}


@dataclass(frozen=True)
class Score:
    """One number of parent and candidate on the same pixels.

    Parameters
    ----------
    kind : str
        ``corrections``, ``seen corrections``, ``verified`` and ``folder`` are mean Dice over the classes that hold at
        least 2 % of the pixels;
        ``agreement`` is the share of pixels where the candidate says what the parent says.
    before, after : float
        Parent and candidate, 0 to 1.
    regions, pixels : int
        How many separate regions, and how many pixels at the model's resolution.
    """

    kind: ScoreKind
    before: float
    after: float
    regions: int
    pixels: int

    @property
    def sentence(self) -> str:
        """The two numbers in words."""
        n = f"{self.regions} region{'s' if self.regions != 1 else ''}, {self.pixels} px"
        if self.kind == "agreement":
            return f"{1 - self.after:.0%} of {_NAMES[self.kind]} changed class (n = {n})"
        return f"Dice on {_NAMES[self.kind]} {self.before:.3f} before, {self.after:.3f} after (n = {n})"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            "n": self.regions,
            "pixels": self.pixels,
        }


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate may become the active model, and why."""

    promoted: bool
    reason: str


def judge(scores: Sequence[Score], *, tolerance: float, max_change: float) -> Verdict:
    """Promote a candidate that is nowhere worse than its parent by more than allowed.

    Parameters
    ----------
    scores : sequence of Score
        At least one.
    tolerance : float
        Largest allowed fall of a Dice.
    max_change : float
        Largest allowed share of uncorrected pixels whose class changes.

    Returns
    -------
    Verdict
        The reason names both numbers and n; too few corrections to hold any out is said as such.
    """
    problems = [s for s in scores if _is_worse(s, tolerance, max_change)]
    facts = "; ".join(s.sentence for s in (problems or scores))
    if problems:
        return Verdict(False, f"Not activated: {facts}. {_advice(problems[0], tolerance, max_change)}")
    if not any(s.kind == "corrections" for s in scores):
        facts += ". There are too few corrected regions to hold any out, so its gain is not proven on unseen ones"
    return Verdict(True, f"Activated: {facts}.")


def _is_worse(score: Score, tolerance: float, max_change: float) -> bool:
    if not math.isfinite(score.after):
        return True
    allowed = max_change if score.kind == "agreement" else tolerance
    return score.after < score.before - allowed - 1e-9


def _advice(score: Score, tolerance: float, max_change: float) -> str:
    if not math.isfinite(score.after):
        return "The training did not stay finite; lower the learning rate."
    if score.kind == "agreement":
        return f"At most {max_change:.0%} is allowed; correct a few of the other images and retrain."
    return f"It may fall by at most {tolerance:g}; check the corrections for mistakes or add more of them."
