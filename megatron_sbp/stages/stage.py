"""What a stage declares: inputs, settings, units, outputs, and the device that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.stages.run_folder import Run

UNIT = "{unit}"
"""In what a stage reads: the name of a unit, which alone reads the file unless another pattern of the stage names it
too. Of wildcards, such a pattern may have `*` behind it."""


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
    """Of work in the file; infinite where nobody knows."""


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
    """Whether outputs for more inputs contain those for fewer, so that the latter are replaced without asking."""

    units_of_recipe: bool = False
    """Whether the units follow from the recipe alone, and so are known before the stages that it reads from end."""

    lists_inputs: bool = False
    """Whether it finds what it reads by listing folders, so that a file that is gone would pass for one that was never
    there."""

    checks_own_work: bool = False
    """Whether `run_unit` itself finds out what the files in its place belong to, so that it continues from them, or
    refuses, without a manifest."""

    def under(self, srun: Sequence[str]) -> Stage:
        """The same stage, whose ranks Slurm starts with these words; only for trainings."""
        raise NotImplementedError

    def device_for(self, run: Run) -> str:
        """`device`, for a stage whose recipe decides it."""
        return self.device

    def gpus(self, run: Run) -> int:
        """GPUs that one process of a stage on `gpu` needs."""
        return 1

    def python(self, run: Run) -> Path | None:
        """Interpreter that the stage needs; None is that of the command."""
        return None

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        """Outputs of other stages that this one reads: stage name to glob patterns below the run folder.

        With `{unit}` in a pattern each unit reads files of its own, and further units leave finished ones as they are.
        """
        return {}

    def external(self, run: Run) -> list[Path]:
        """Files outside the run folder that this stage reads."""
        return []

    def settings(self, run: Run) -> JsonObject:
        """All of the recipe that changes this stage's outputs."""
        return {}

    def unit_settings(self, run: Run) -> JsonObject:
        """The settings that change what a unit writes; more units then keep the finished ones."""
        return self.settings(run)

    def grown_from(self, run: Run, former: Mapping[str, JsonValue]) -> bool:
        """Whether outputs of the former settings, and of inputs that are still there, are contained in those to be
        made, so that they are replaced without asking."""
        return self.grows and all(former.get(key) == value for key, value in self.unit_settings(run).items())

    def units(self, run: Run) -> list[str]:
        """Names of the units. They follow from recipe and inputs alone."""
        return ["all"]

    def counts(self, run: Run) -> bool:
        """Whether units are done in order until what they hold suffices.

        `units` are then the first that suffice, as far as what is in the finished ones tells; any that were done beyond
        them stay for a larger plan.
        """
        return False

    def count(self, run: Run, unit: str) -> None:
        """Notes for `units` what is in a finished unit; its lock is held."""

    def counted(self, run: Run) -> set[str]:
        """Units of which that is noted."""
        return set()

    def owns(self, run: Run) -> tuple[str, ...]:
        """Glob patterns below the run folder of the files and folders that belong to this stage alone."""
        return ()

    def saves(self, run: Run) -> tuple[str, ...]:
        """Of `owns`, the patterns of files and folders from which an interrupted stage continues."""
        return self.owns(run)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        """Does one unit and returns the files it wrote, each written atomically (or resumed by its writer)."""
        raise NotImplementedError

    def noted_by_others(self, run: Run) -> list[Path]:
        """Outputs that a later stage writes, so that what they hold may differ from what the manifest says."""
        return []

    def finish(self, run: Run) -> list[Path]:
        """Makes the outputs that need all units, and returns them."""
        return []

    def reopens(self, run: Run) -> str | None:
        """Name of an earlier stage that has more to do because of what this one, finished, has found."""
        return None

    def intermediate(self, run: Run, path: Path) -> bool:
        """Whether an output is needed by `finish` only; it is removed when the stage is complete."""
        return False

    def half_done(self, run: Run) -> dict[str, HalfDone]:
        """What there is of units that are not finished, of whatever plan, by their names."""
        return {}

    def spent(self, run: Run) -> float:
        """Seconds of unfinished work that no unit manifest accounts for."""
        return sum(half.seconds for half in self.half_done(run).values())

    def spent_on(self, run: Run, unit: str) -> float:
        """Seconds of work from which a unit continues that interrupted processes began."""
        return 0.0

    def progress(self, run: Run) -> str:
        """Progress of the work, for `sbp status`; empty where only its units show it."""
        return ""

    def unit_progress(self, run: Run, unit: str) -> str:
        """How far an unfinished unit has come, so that a retry that got further is told from a crash loop; empty where
        a unit begins anew."""
        return ""

    def pace(self, run: Run) -> str:
        """Progress of all units together, for `sbp status`, where there is more to say than how many are done."""
        return ""

    def unfinished_damage(self, run: Run) -> list[Damage]:
        """Damage to work in progress that no unit manifest covers."""
        return []

    def check_damage(self, run: Run, found: list[Damage], repair: bool, discard: bool) -> None:
        """Called when outputs, or work in progress, are gone or changed; changes nothing.

        Args:
            run: the run.
            found: what is gone or changed.
            repair: whether the user asked to continue from what is intact.
            discard: whether the user asked to do all of it again.

        Raises:
            InputError: the program must not decide what to do; says what the user can do.
        """

    def repair(self, run: Run, found: list[Damage]) -> None:
        """Called after `check_damage`, before changed files are moved aside and the missing units are done again."""


def by_name(stages: list[Stage], name: str) -> Stage:
    """The stage of that name."""
    return next(stage for stage in stages if stage.name == name)
