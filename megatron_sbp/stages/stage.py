"""The declaration of a stage: inputs, settings, units, outputs, and the device that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.stages.run_folder import Run

UNIT = "{unit}"
"""Placeholder for a unit's name in a stage's input patterns: only that unit reads the file, unless another pattern of
the stage matches it too. Such a pattern may have one wildcard, a trailing `*`."""


@dataclass(frozen=True)
class Damage:
    """An output that differs from its manifest."""

    path: str
    """Below the run folder."""
    reason: str
    gone: bool

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


class HalfDone(NamedTuple):
    """A unit that is not finished."""

    file: Path
    seconds: float
    """Seconds of work in the file; infinite if unknown."""


def span(first: str, last: str) -> str:
    """Name of a unit of several files: `00003-00005`; of one file, `00003`."""
    return first if first == last else f"{first}-{last}"


class Stage:
    """What a stage must declare. Its subclasses, one file per verb, call the library."""

    name: str
    """The verb on the command line and the name in stages/."""
    title: str
    """One line for --help."""
    version: int = 1
    """Raised when the outputs change for the same settings and inputs."""
    sharded: bool = False
    """Whether several processes may share its units."""
    device: str = "cpu"
    """cpu: runs on CPU nodes. gpu: uses a GPU where there is one. training: Megatron ranks."""

    asks_like: str = ""
    """Verb of a stage with work of the same kind: what `slurm.stages` gives that one applies here too."""
    grows: bool = False
    """Whether outputs for more inputs contain those for fewer, so the latter can be replaced without asking."""

    units_of_recipe: bool = False
    """Whether the units follow from the recipe alone, and so are known before the upstream stages finish."""

    lists_inputs: bool = False
    """Whether it finds its inputs by listing folders, so that a missing file would go unnoticed."""

    checks_own_work: bool = False
    """Whether `run_unit` itself identifies existing files in its folder, and continues from them or refuses, without a
    manifest."""

    def under(self, srun: Sequence[str]) -> Stage:
        """The same stage, whose ranks Slurm starts with these words; only for training stages."""
        raise NotImplementedError

    def device_for(self, run: Run) -> str:
        """`device`, for a stage whose device depends on the recipe."""
        return self.device

    def gpus(self, run: Run) -> int:
        """GPUs needed by one process of a stage whose device is `gpu`."""
        return 1

    def python(self, run: Run) -> Path | None:
        """Interpreter that the stage needs; None means that of the command."""
        return None

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        """Outputs of other stages that this one reads: stage name to glob patterns below the run folder.

        With `{unit}` in a pattern, each unit reads its own files, and adding units leaves finished ones valid.
        """
        return {}

    def external(self, run: Run) -> list[Path]:
        """Files outside the run folder that this stage reads."""
        return []

    def settings(self, run: Run) -> JsonObject:
        """All recipe settings that change this stage's outputs."""
        return {}

    def unit_settings(self, run: Run) -> JsonObject:
        """The settings that change a unit's outputs; adding units then keeps the finished ones."""
        return self.settings(run)

    def grown_from(self, run: Run, former: Mapping[str, JsonValue]) -> bool:
        """Whether outputs of the old settings, with inputs that still exist, are contained in the new ones, so that
        they can be replaced without asking."""
        return self.grows and all(former.get(key) == value for key, value in self.unit_settings(run).items())

    def units(self, run: Run) -> list[str]:
        """Names of the units. They follow from recipe and inputs alone."""
        return ["all"]

    def counts(self, run: Run) -> bool:
        """Whether units run in order until they hold enough.

        `units` are then the first that suffice, as far as the finished ones show; any further finished ones stay for a
        larger plan.
        """
        return False

    def count(self, run: Run, unit: str) -> None:
        """Records the contents of a finished unit for `units`; its lock is held."""

    def counted(self, run: Run) -> set[str]:
        """Units whose contents are recorded."""
        return set()

    def owns(self, run: Run) -> tuple[str, ...]:
        """Glob patterns, below the run folder, of files and folders that belong to this stage alone."""
        return ()

    def saves(self, run: Run) -> tuple[str, ...]:
        """The patterns in `owns` from whose files an interrupted stage continues."""
        return self.owns(run)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        """Runs one unit and returns the files it wrote, each written atomically (or resumed by its writer)."""
        raise NotImplementedError

    def noted_by_others(self, run: Run) -> list[Path]:
        """Outputs that a later stage modifies, so that they may differ from the manifest."""
        return []

    def finish(self, run: Run) -> list[Path]:
        """Writes the outputs that need all units, and returns them."""
        return []

    def reopens(self, run: Run) -> str | None:
        """Name of an earlier stage that has more to do because of this finished stage's result."""
        return None

    def intermediate(self, run: Run, path: Path) -> bool:
        """Whether an output is needed by `finish` only; it is removed when the stage is complete."""
        return False

    def half_done(self, run: Run) -> dict[str, HalfDone]:
        """Unfinished units of any plan, by name."""
        return {}

    def spent(self, run: Run) -> float:
        """Seconds of unfinished work that no unit manifest accounts for."""
        return sum(half.seconds for half in self.half_done(run).values())

    def spent_on(self, run: Run, unit: str) -> float:
        """Seconds of work by interrupted processes from which a unit continues."""
        return 0.0

    def progress(self, run: Run) -> str:
        """Progress of the work, for `sbp status`; empty if only its units show it."""
        return ""

    def unit_progress(self, run: Run, unit: str) -> str:
        """How far an unfinished unit has advanced, to distinguish a retry that got further from a crash loop; empty if
        a unit restarts from the beginning."""
        return ""

    def pace(self, run: Run) -> str:
        """Progress of all units together, for `sbp status`, if there is more to report than the number done."""
        return ""

    def unfinished_damage(self, run: Run) -> list[Damage]:
        """Damage to work in progress that no unit manifest covers."""
        return []

    def check_damage(self, run: Run, found: list[Damage], repair: bool, discard: bool) -> None:
        """Called when outputs or work in progress are missing or changed; modifies nothing.

        Args:
            run: the run.
            found: what is missing or changed.
            repair: whether the user asked to continue from the intact part.
            discard: whether the user asked to redo all of it.

        Raises:
            InputError: the user must decide; names the options.
        """

    def repair(self, run: Run, found: list[Damage]) -> None:
        """Called after `check_damage`, before changed files are moved aside and missing units are redone."""


def by_name(stages: list[Stage], name: str) -> Stage:
    """The stage of that name."""
    return next(stage for stage in stages if stage.name == name)
