"""Runs stages: functions from files to files, completed by manifests, resumed after any interruption.

A stage is divided into units (usually one per shard of its input). A unit writes its outputs atomically and then a unit
manifest; when all units are done, `finish` makes the joint outputs, and the stage manifest completes the stage:

    stages/NAME.json            settings, digests of inputs and outputs, seconds; its presence means "finished"
    stages/NAME/UNIT.json       the same for one unit
    stages/NAME/started.json    the fingerprint of the work in progress

Each has a fingerprint, the digest of settings and inputs. A changed recipe or input gives another fingerprint, and the
stage is redone beside its old outputs, in .work/NAME-FINGERPRINT/, which replaces them only once it is complete
(`replacement.py`). Inputs are compared by content, so a stage that ran again with the same result does not disturb
those after it.

Outputs that took more than five minutes are replaced only if the caller asks for it (`discard`). Files that no manifest
names with their digest are never deleted; if they are in the way, they are moved to aside/.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.locks import locked, locked_if_free
from megatron_sbp.base.progress import say
from megatron_sbp.executor.external import check_since
from megatron_sbp.executor.fingerprints import Fingerprints
from megatron_sbp.executor.gpu_use import gpu_seconds, gpus_used
from megatron_sbp.executor.in_progress import belongs, started_note, worked
from megatron_sbp.executor.manifests import (
    check_present,
    damage,
    differences,
    entries,
    read_unit,
    work_of,
)
from megatron_sbp.executor.read_files import check_unchanged
from megatron_sbp.executor.replacement import remove_named
from megatron_sbp.executor.retry import at_unit
from megatron_sbp.executor.state import StageState
from megatron_sbp.executor.surplus import check_movable, lock_file, lock_names, retire_surplus
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage


class StageRunner(StageState):
    """Runs one stage, or part of its units, in this process. Arguments as for `StageState`."""

    def execute(self, shard: tuple[int, int] = (1, 1)) -> bool:
        """Runs the missing units of one shard, and completes the stage when all units are done.

        Args:
            shard: (i, n), i from 1 to n: every n-th unit, starting with the i-th. A stage that stops once its units
                hold enough gives each process the first unit that no other has taken.

        Returns:
            Whether the stage is complete now.

        Raises:
            InputError: an upstream stage is not finished, an input is invalid, or costly work would be discarded.
        """
        fingerprints = self.fingerprints()
        if self.finished(fingerprints):
            self.note_times()
            return True
        self._check_read(
            fingerprints.described["inputs"].keys() - {path for mine in fingerprints.own.values() for path in mine}
        )
        with self._lock("prepare"):
            self.replacement.resume()
            self._tidy()
            if self.finished():  # another process completed it while this one waited
                return True
            self._check(fingerprints)
            if self.stage.lists_inputs:
                check_present(self.run, self.inputs())
            self._prepare(fingerprints)
            view, folder = self._place(fingerprints)
        index, count = shard
        planned = [] if self.stage.counts(view) else self.stage.units(view)
        self._count_units(view, folder, fingerprints)
        for unit in planned[index - 1 :: count]:
            with self._lock(unit):
                # In this order: a process that completed the stage meanwhile wrote the manifest before it removed what
                # only `finish` needed, and a unit without that looks undone.
                if self._unit(view, folder, unit, fingerprints) is None and not self._complete(fingerprints.stage):
                    self._run_unit(view, folder, unit, fingerprints)
        with self._lock("prepare"):
            if self.finished():
                return True
            counted, units = self.stage.counted(view), self.stage.units(view)
            if self.stage.counts(view) and not counted.issuperset(units):  # another process is doing so right now
                return False
            missing = any(self._unit(view, folder, unit, fingerprints) is None for unit in units)
            if not missing or (planned and units != planned):
                check_since(self.run, self.stage.external(self.run), fingerprints.described["inputs"], self.stage.name)
            if missing:
                return False
            if folder != self.unit_folder:  # units that other processes write beyond the plan are about to be renamed
                for unit in sorted(lock_names(self.unit_folder) - set(self.stage.units(view))):
                    with self._lock(unit):
                        pass
            self._finish(view, folder, fingerprints)
        return True

    def _count_units(self, view: Run, folder: Path, fingerprints: Fingerprints) -> None:
        """Runs units of a stage that stops once they hold enough, each time the first that no other process has
        taken."""
        if not self.stage.counts(view):
            return
        good: set[str] = set()
        self._first_to_do(view, folder, fingerprints, good)  # before the lock: there can be thousands of finished ones
        while True:
            with contextlib.ExitStack() as locks:
                with self._lock("prepare"):  # so that none starts, or is searched for, while the stage is completed
                    if self._complete(fingerprints.stage):
                        return
                    unit = self._first_to_do(view, folder, fingerprints, good, locks)
                if unit is None:
                    return
                if self._unit(view, folder, unit, fingerprints) is None:
                    self._run_unit(view, folder, unit, fingerprints)
                self.stage.count(view, unit)

    def _first_to_do(
        self,
        view: Run,
        folder: Path,
        fingerprints: Fingerprints,
        good: set[str],
        locks: contextlib.ExitStack | None = None,
    ) -> str | None:
        """The first unit that is neither done and counted nor in `good`, to which units found to be done are added.

        With `locks`, the first whose lock is free, which is left to them.
        """
        counted = self.stage.counted(view)
        for unit in self.stage.units(view):
            if unit in good:
                continue
            if unit in counted and self._unit(view, folder, unit, fingerprints) is not None:
                good.add(unit)
            elif locks is not None and locks.enter_context(locked_if_free(lock_file(self.unit_folder, unit))):
                return unit
        return None

    def _prepare(self, fingerprints: Fingerprints) -> None:
        """Prepares for the work: reports what differs, moves damaged files aside, and removes stale ones."""
        name = self.stage.name
        manifest = self._manifest()
        if manifest is None and self.manifest_file.exists():
            say(f"{name}: the manifest is damaged; moving it and its outputs aside")
            self._set_aside(f"{name}-damaged")
            self.manifest_file.replace(self.run.new_aside(f"{name}-manifest") / self.manifest_file.name)
        folder = self._place(fingerprints)[1]
        former = started_note(folder)
        if manifest is not None and manifest["key"] == fingerprints.stage:
            self.stage.repair(self.run, damage(self.run, manifest["outputs"]))
            found = damage(self.run, manifest["outputs"])
            for item in found:
                say(f"{name}: {item}; regenerating it")
            self._keep_changed(self.run, found)
            # Otherwise regenerated outputs would find the old manifest and never be completed under a new one.
            self.manifest_file.unlink()
        elif belongs(former, fingerprints):  # continue, in the run folder or beside finished outputs
            view = self._place(fingerprints)[0]
            found = self.stage.unfinished_damage(view)
            if found:
                self.stage.repair(view, found)
        elif manifest is not None and folder != self.unit_folder:
            if former is None:
                for line in differences(manifest, fingerprints.described):
                    say(f"{name}: {line}")
                say(f"{name}: running again; outputs of the former settings or inputs are kept until it has finished")
        elif manifest is None and former:
            for line in differences(former, fingerprints.described):
                say(f"{name}: {line}")
            say(f"{name}: setting aside unfinished work of other settings or inputs")
            self._set_aside(f"{name}-unfinished")
        elif manifest is None and not self._stays(fingerprints) and self.replacement.in_the_way():
            say(f"{name}: no manifest describes the files in its place; moving them aside")
            self._set_aside(f"{name}-unknown")
        note = {"key": fingerprints.units, **fingerprints.described}
        if former != note:
            files.write_json(folder / records.STARTED, note)

    def _set_aside(self, label: str) -> None:
        """Moves everything the stage owns out of the way, then deletes what unit manifests name unless it was
        costly."""
        self.replacement.check_places()
        costly = self._unfinished_seconds() > self.keep_seconds
        target = self.run.new_aside(label)
        self.replacement.retire(target)
        for file in sorted(self.unit_folder.glob(records.UNIT_MANIFESTS)):
            unit = read_unit(file)
            if unit and not costly:
                remove_named(target, unit["outputs"])
            file.unlink()
        self.replacement.tidy(target)

    def _keep_changed(self, view: Run, found: list[Damage]) -> None:
        """Moves files to aside/ that have changed since a manifest named them."""
        changed = [item for item in found if not item.gone]
        if not changed:
            return
        self._check_movable(view, [item.path for item in changed])
        aside = self.run.new_aside(f"{self.stage.name}-damaged")
        for item in changed:
            target = aside / item.path
            target.parent.mkdir(parents=True, exist_ok=True)
            view.at(item.path).replace(target)
            say(f"{self.stage.name}: {item.path} was changed since; it is kept as {self.run.relative(target)}")

    def _check_movable(self, view: Run, paths: list[str]) -> None:
        """Raises InputError if files cannot be renamed to aside/."""
        check_movable(view, [view.at(path) for path in paths])

    def _check_read(self, inputs: Iterable[str]) -> None:
        """Raises InputError for files of other stages that are not what these wrote."""
        check_unchanged(self.run, self.stage.reads(self.run), inputs)

    def _run_unit(self, view: Run, folder: Path, unit: str, fingerprints: Fingerprints) -> None:
        self._check_read(fingerprints.own.get(unit, ()))
        file, key = folder / records.manifest(unit), fingerprints.unit(unit)
        former = read_unit(file)
        if former:
            if former["key"] != key:
                say(f"{self.stage.name} {unit}: made under other settings or inputs; redoing the unit")
            self._keep_changed(view, damage(view, former["outputs"]))
            file.unlink()  # files written from here on would look changed after another interruption
        earlier = self.stage.spent_on(view, unit)
        started, begun = time.time(), time.monotonic()  # the clock may be set meanwhile
        try:
            outputs = self.stage.run_unit(view, unit)
        except Exception as error:
            at_unit(error, f"unit {unit} {self.stage.unit_progress(view, unit)}".strip())
            raise
        manifest = {
            "stage": self.stage.name,
            "unit": unit,
            "key": key,
            "outputs": entries(view, outputs),
            "seconds": round(time.monotonic() - begun, 3),
            "gpus": gpus_used(view, self.stage),
            **({"earlier_seconds": round(earlier, 3)} if 0 < earlier < float("inf") else {}),
            "started": started,
        }
        files.write_json(file, manifest)

    def _finish(self, view: Run, folder: Path, fingerprints: Fingerprints) -> None:
        started, entered = time.time(), time.monotonic()
        units = [files.read_json(folder / records.manifest(unit)) for unit in self.stage.units(view)]
        outputs = {path: entry for unit in units for path, entry in unit["outputs"].items()}
        former = self._manifest() if folder == self.unit_folder else None
        if former:
            known = {*outputs, *map(self.run.relative, self.stage.noted_by_others(self.run))}
            others = {path: entry for path, entry in former["outputs"].items() if path not in known}
            self._keep_changed(view, damage(view, others))
            self.manifest_file.unlink()  # as above: the joint outputs are written again
        joint = self.stage.finish(view)
        outputs.update(entries(view, joint))
        spent = {path: outputs[path] for path in outputs if self.stage.intermediate(view, view.at(path))}
        for path in spent:
            del outputs[path]
        begun = min((unit["started"] for unit in units), default=started)
        manifest = {
            "stage": self.stage.name,
            "key": fingerprints.stage,
            "unit_key": fingerprints.units,
            "version": __version__,
            **fingerprints.described,
            "outputs": outputs,
            "units": len(units),
            # Time during which at least one process worked on a unit, excluding time between two calls.
            "seconds": round(worked(units) + time.monotonic() - entered, 3),
            "unit_seconds": round(sum(map(work_of, units)), 3),
            **gpu_seconds(units),
            "started": begun,
        }
        files.write_json(self.tidying_file, {"key": fingerprints.stage, "spent": spent})
        if folder == self.unit_folder:
            files.write_json(self.manifest_file, manifest)
        else:
            self.replacement.install(view, folder, manifest, keep=self.discard)
        self._tidy()

    def _tidy(self) -> None:
        """Removes files that are not needed once the manifest is written; does nothing unless a completion requested
        it."""
        if not self.tidying_file.exists():
            return
        asked, manifest = files.read_json(self.tidying_file), self._manifest()
        if manifest is not None and manifest["key"] == asked["key"]:
            held = retire_surplus(self.run, self.stage, self.unit_folder, manifest["outputs"], self.keep_seconds)
            remove_named(self.run.root, asked["spent"])
            for folder in {path for pattern in self.stage.owns(self.run) for path in self.run.root.glob(pattern)}:
                for left in list(files.partial_files(folder)) if folder.is_dir() and not held else []:
                    left.unlink(missing_ok=True)
            self.replacement.tidy_work(self.keep_seconds, self.stage.spent)
        self.tidying_file.unlink()

    def _lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        return locked(lock_file(self.unit_folder, name), f"{self.stage.name} {name}")
