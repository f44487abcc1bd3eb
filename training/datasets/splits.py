"""Which images train, validate and test: always whole cases, chosen by a hash of their name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Split = Literal["train", "validation", "test"]


def split_groups(groups: Iterable[str], *, test: float = 0.2, validation: float = 0.1) -> dict[str, Split]:
    """Split of every group (case, patient, slide); it does not depend on the order they come in.

    Parameters
    ----------
    groups : iterable of str
        Names, repeated or not.
    test, validation : float
        Shares of the groups; the rest trains. Either part may be empty when there are few groups.
    """
    ranked = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    tests, validations = round(len(ranked) * test), round(len(ranked) * validation)
    splits: dict[str, Split] = {}
    for rank, group in enumerate(ranked):
        splits[group] = "test" if rank < tests else "validation" if rank < tests + validations else "train"
    return splits
