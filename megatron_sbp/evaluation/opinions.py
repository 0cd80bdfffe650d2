"""Opinions about texts, from any judge, and the figures that they become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.confidence import part, share

OPINIONS = {"factual": "non_factual", "relevant": "pair_irrelevance"}
"""What a judge says, and the figure that it becomes."""

type Opinion = tuple[float, float]
"""What is wrong, of how much: (0, 1) for True, (1, 1) for False."""


@dataclass(frozen=True)
class Case:
    """A text to be judged."""

    seed: str | None
    text: str
    row: JsonObject


class Judge(ABC):
    """Judges whether texts are factual, and whether they are relevant to their seed document."""

    @abstractmethod
    def about(self) -> JsonObject:
        """What quality.json says about the judge, once it has been asked."""

    @abstractmethod
    def opinions(self, cases: Sequence[Case], progress: Progress) -> list[dict[str, Opinion]]:
        """The opinions about every text, in order; those that it does not have are left out.

        Raises:
            InputError: the judge failed.
        """

    def figures(self, cases: Sequence[Case], seed: int, label: str) -> dict[str, JsonObject]:
        """`non_factual` and `pair_irrelevance`: `value`, `low`, `high`, and `judged`, the texts that had an opinion.

        The interval is exact where all opinions are True or False, otherwise a bootstrap over texts.

        Args:
            cases: the texts.
            seed: the run's seed.
            label: of the progress line.

        Raises:
            InputError: see `opinions`.
        """
        with Progress(label, len(cases), "documents") as progress:
            found = self.opinions(cases, progress)
        return {
            figure: _figure(np.array([one[opinion] for one in found if opinion in one]), seed)
            for opinion, figure in OPINIONS.items()
        }


def _figure(found: np.ndarray, seed: int) -> JsonObject:
    """The figure of one opinion: float64 [texts, 2], wrong and whole."""
    if not len(found):
        return {"value": None, "low": None, "high": None, "judged": 0}
    wrong, whole = found.T
    exact = bool((whole == 1).all() and np.isin(wrong, (0, 1)).all())
    return {**(share(wrong == 1) if exact else part(wrong, whole, seed)), "judged": len(found)}
