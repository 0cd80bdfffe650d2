"""Surplus units of a larger earlier plan of a stage, once a smaller one is complete.

Costly ones are moved to aside/, the others are removed. A process that started under the earlier plan may still be
writing one: it holds the unit's lock, and the unit is left alone. Units of a stage that stops once they hold enough all
stay, for a larger plan.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked_if_free
from megatron_sbp.base.one_file_system import check_one_file_system
from megatron_sbp.base.progress import duration, say
from megatron_sbp.executor.manifests import Outputs, read_unit, work_of
from megatron_sbp.executor.replacement import remove_named
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def lock_file(unit_folder: Path, name: str) -> Path:
    """The lock of a unit, or of a stage (`prepare`)."""
    return unit_folder / records.unit_lock(name)


def lock_names(unit_folder: Path) -> set[str]:
    """Names of the units that any process has ever worked on."""
    units = {records.unit_of_lock(file.name) for file in unit_folder.glob(records.UNIT_LOCKS)}
    return units - {records.unit_of_lock(records.PREPARE_LOCK)}


def check_idle(stage: str, unit_folder: Path, differ: Iterable[str]) -> None:
    """Raises InputError if another process works on a stage, in what would be moved aside.

    Args:
        stage: its name.
        unit_folder: folder of its unit manifests; this process holds the lock of no unit.
        differ: what is other than when that work began.
    """
    for unit in sorted(lock_names(unit_folder)):
        with contextlib.suppress(PermissionError), locked_if_free(lock_file(unit_folder, unit)) as free:
            if not free:
                raise InputError(
                    f"another process is at work on {stage} ({unit}) under other settings or inputs "
                    f"({'; '.join(differ)}); wait for it, end it, or choose another run_folder",
                    file=unit_folder,
                )


def check_movable(run: Run, paths: Iterable[Path]) -> None:
    """Raises InputError if files cannot be renamed to aside/."""
    check_one_file_system(run.root, [*dict.fromkeys(path.parent for path in paths), run.aside])


def retire_surplus(run: Run, stage: Stage, unit_folder: Path, outputs: Outputs, keep_seconds: float) -> list[str]:
    """Removes or moves aside the units that are no longer planned.

    Args:
        run: the run, not a view.
        stage: the stage, which is complete.
        unit_folder: folder of its unit manifests.
        outputs: of the stage, as planned now; they stay.
        keep_seconds: units that took more seconds of work than this are moved to aside/ rather than removed.

    Returns:
        The units that stay because other processes hold their locks.

    Raises:
        InputError: costly files are on another file system than aside/.
    """
    planned = set(stage.units(run))
    done = {file.stem for file in unit_folder.glob(records.UNIT_MANIFESTS)} - {Path(records.STARTED).stem}
    with contextlib.ExitStack() as locks:
        mine: list[str] = []
        held: list[str] = []
        for unit in sorted((done | stage.half_done(run).keys() | lock_names(unit_folder)) - planned):
            free = locks.enter_context(locked_if_free(lock_file(unit_folder, unit)))
            (mine if free else held).append(unit)
        if mine and not stage.counts(run):
            _retire(run, stage, unit_folder, outputs=outputs, keep_seconds=keep_seconds, units=mine)
    if held and not stage.counts(run):
        say(
            f"{stage.name}: another process is writing {', '.join(held)}, beyond the present plan; this is left as it "
            "is, and not used"
        )
    return held


def _retire(
    run: Run, stage: Stage, unit_folder: Path, *, outputs: Outputs, keep_seconds: float, units: list[str]
) -> None:
    """Retires units whose locks this process holds, so that they cannot change meanwhile."""
    manifests = {file: read_unit(file) for unit in units if (file := unit_folder / records.manifest(unit)).exists()}
    every_half = stage.half_done(run)  # `finish` removed those of the present plan
    half = [every_half[unit] for unit in units if unit in every_half]
    count = sum(unit in every_half or unit_folder / records.manifest(unit) in manifests for unit in units)
    seconds = sum(work_of(unit) for unit in manifests.values() if unit) + sum(left.seconds for left in half)
    keep = seconds > keep_seconds
    if keep:
        named = [run.at(path) for unit in manifests.values() if unit for path in unit["outputs"]]
        check_movable(run, [*named, *(left.file for left in half)])
    aside = run.new_aside(f"{stage.name}-surplus") if keep else None
    for left in half:
        if aside:
            _move(run, left.file, aside)
        else:
            left.file.unlink(missing_ok=True)
    for file, unit in manifests.items():
        mine = {path: entry for path, entry in (unit["outputs"] if unit else {}).items() if path not in outputs}
        for path in mine:
            if aside and run.at(path).exists():
                _move(run, run.at(path), aside)
        remove_named(run.root, mine)
        file.unlink()
    if aside:
        say(
            f"{stage.name}: {count} units beyond the present plan, {duration(seconds)} of work, are in "
            f"{run.relative(aside)}"
        )


def _move(run: Run, file: Path, aside: Path) -> None:
    target = aside / run.relative(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)
