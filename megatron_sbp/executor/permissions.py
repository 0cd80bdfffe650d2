"""Permissions of stages over former work: `--discard STAGE` and `--repair STAGE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALL = "all"
"""Means every stage."""


@dataclass(frozen=True)
class Permissions:
    """Names of stages, or `ALL`.

    Attributes:
        discard: those whose costly outputs may be replaced.
        repair: those that may go back to the intact part of damaged outputs.
        asked: whether the user gave them; a rehearsal allows everything by itself.
    """

    discard: Sequence[str] = ()
    repair: Sequence[str] = ()
    asked: bool = True

    def discards(self, stage: str) -> bool:
        """Whether the stage may replace costly outputs."""
        return stage in self.discard or ALL in self.discard

    def repairs(self, stage: str) -> bool:
        """Whether the stage may go back to the intact part."""
        return stage in self.repair or ALL in self.repair

    def words(self, stage: str) -> list[str]:
        """The same as options of the stage's own command."""
        given = (("--discard", self.discards(stage)), ("--repair", self.repairs(stage)))
        return [word for option, allowed in given if allowed for word in (option, stage)]
