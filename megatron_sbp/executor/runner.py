"""Stages: functions from files to files, completed by manifests, resumed after any interruption.

A stage is cut into units (usually one per shard of its input). A unit writes its outputs atomically and then a unit
manifest; when all units are there, `finish` makes the joint outputs and the stage manifest completes the stage:

    stages/NAME.json            settings, digests of inputs and outputs, seconds; its presence means "finished"
    stages/NAME/UNIT.json       the same for one unit
    stages/NAME/started.json    what the work in progress belongs to

Each of them holds a key, the digest of settings and inputs. A changed recipe or input gives another key, and the stage
is made again: beside the former outputs, in .work/NAME-KEY/, which take the place of the former ones only when they are
complete (`replacement.py`). Inputs are compared by content, so a stage that ran again with the same result does not
disturb those after it.

What took more than KEEP_SECONDS of work is replaced only when the caller asks for it (`discard`). Files that no
manifest names with their digest are never deleted; where they are in the way they are moved to aside/.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked
from megatron_sbp.base.progress import duration, say
from megatron_sbp.executor.manifests import (
    UNIT_FIELDS,
    DamagedManifest,
    damage,
    differences,
    entries,
    external_digests,
    intact,
    read_manifest,
    read_unit,
    select,
    stage_manifest,
)
from megatron_sbp.executor.replacement import Replacement, remove_named
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

KEEP_SECONDS = 300.0
"""Outputs that took more seconds of work than this are replaced only with `discard`."""


class StageRunner:
    """Runs one stage of one run in this process, or part of its units.

    Args:
        run: The run.
        stage: The stage.
        graph: All stages, in order; those that `stage` reads must be finished.
        discard: Whether costly outputs of the stage may be replaced. They are moved to aside/.
        repair: Whether the stage may go back to what is intact of damaged outputs.
    """

    def __init__(self, run: Run, stage: Stage, graph: list[Stage], discard: bool = False, repair: bool = False):
        self.run, self.stage, self.graph = run, stage, graph
        self.discard, self.may_repair = discard, repair
        self.manifest_file = run.manifests / f"{stage.name}.json"
        self.unit_folder = run.manifests / stage.name
        self.tidying_file = self.unit_folder / ".tidying"
        self.replacement = Replacement(run, stage.name, stage.owns(run), self.manifest_file, self.unit_folder)

    # -- what it depends on ------------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, str]:
        """Digest of every input file. Raises InputError when a stage that is read from is not finished."""
        found: dict[str, str] = {}
        for name, patterns in self.stage.reads(self.run).items():
            file = self.run.manifests / f"{name}.json"
            manifest = stage_manifest(file, name)
            if manifest is None:
                raise InputError(f"{self.stage.name} needs the stage '{name}', which is not finished", file=file)
            found.update(select(manifest["outputs"], patterns))
        external = self.stage.external(self.run)
        if external:
            found.update(external_digests(self.run, external))
        return found

    def keys(self) -> tuple[str, str, dict[str, Any]]:
        """Key of the stage, key of its units, and what they were made from."""
        settings, inputs = self.stage.settings(self.run), self.inputs()
        base = {"stage": self.stage.name, "version": self.stage.version, "inputs": inputs}
        unit_settings = self.stage.unit_settings(self.run)
        described = {"settings": settings, "inputs": inputs}
        return (
            files.digest({**base, "settings": settings}),
            files.digest({**base, "settings": unit_settings}),
            described,
        )

    # -- what is there -----------------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether the stage is complete under its present key, with intact outputs. May raise as `inputs` does."""
        if self.replacement.interrupted() or self.tidying_file.exists():
            return False
        manifest = self._manifest()
        return manifest is not None and manifest["key"] == self.keys()[0] and intact(self.run, manifest["outputs"])

    def _manifest(self) -> dict[str, Any] | None:
        """The stage's manifest; None without one, and for a damaged one that may be discarded."""
        try:
            return stage_manifest(self.manifest_file, self.stage.name)
        except DamagedManifest:
            if not self.discard:
                raise
            return None

    def _complete(self, key: str) -> bool:
        manifest = self._manifest()
        return manifest is not None and manifest["key"] == key

    def missing_units(self, unit_key: str | None = None) -> list[str]:
        """Units without an intact result under the present key."""
        if unit_key is None:
            unit_key = self.keys()[1]
        view, folder = self._place(unit_key)
        return [unit for unit in self.stage.units(view) if self._unit(view, folder, unit, unit_key) is None]

    def _place(self, unit_key: str) -> tuple[Run, Path]:
        """Where the units of a key are made, and where their manifests are: beside finished outputs of another key."""
        manifest = self._manifest()
        if manifest is None or self._unit_key(manifest) == unit_key:
            return self.run, self.unit_folder
        work = self.run.work_folder(self.stage.name, unit_key)
        return self.run.view(work, self.stage.owns(self.run)), work / "units"

    def _unit_key(self, manifest: dict[str, Any]) -> str:
        if "unit_key" in manifest:
            return manifest["unit_key"]
        return str((_started(self.unit_folder) or {}).get("key"))  # manifests of 0.1.0 and before

    def _unit(self, view: Run, folder: Path, unit: str, unit_key: str) -> dict[str, Any] | None:
        """The manifest of a unit that is done under this key and intact."""
        try:
            manifest = read_manifest(folder / f"{unit}.json", UNIT_FIELDS)
        except DamagedManifest as error:
            say(f"{self.stage.name} {unit}: {error}; doing the unit again")
            return None
        good = manifest is not None and manifest["key"] == unit_key and intact(view, manifest["outputs"])
        return manifest if good else None

    # -- the work ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises InputError when `execute` would discard costly work, or is not asked to repair what is damaged.

        Changes nothing.
        """
        key, unit_key, described = self.keys()
        if not self.replacement.interrupted():
            self._check(key, unit_key, described)

    def execute(self, shard: tuple[int, int] = (1, 1)) -> bool:
        """Does the missing units of one shard, and completes the stage when all units are there.

        Args:
            shard: (i, n), i from 1 to n: every n-th unit, beginning with the i-th.

        Returns:
            Whether the stage is complete now.

        Raises:
            InputError: a stage that is read from is not finished, bad input to this one, or costly work that would be
                discarded.
        """
        key, unit_key, described = self.keys()
        if self.finished():
            return True
        with self._lock("prepare"):
            self.replacement.resume()
            self._tidy()
            if self.finished():  # another process completed it while this one waited
                return True
            self._check(key, unit_key, described)
            self._prepare(key, unit_key, described)
            view, folder = self._place(unit_key)
        index, count = shard
        mine = [unit for place, unit in enumerate(self.stage.units(view)) if place % count == index - 1]
        for unit in mine:
            with self._lock(unit):
                # In this order: a process that completed the stage meanwhile wrote the manifest before it removed what
                # only `finish` needed, and a unit without that looks undone.
                if self._unit(view, folder, unit, unit_key) is None and not self._complete(key):
                    self._run_unit(view, folder, unit, unit_key)
        with self._lock("prepare"):
            if self.finished():
                return True
            if any(self._unit(view, folder, unit, unit_key) is None for unit in self.stage.units(view)):
                return False
            self._finish(view, folder, key, unit_key, described)
        return True

    def _check(self, key: str, unit_key: str, described: dict[str, Any]) -> None:
        manifest = self._manifest()
        if manifest is None:
            former = _started(self.unit_folder)
            if former and former.get("key") != unit_key:
                self._check_cost(self._unfinished_seconds(), former, described, "unfinished work")
        elif manifest["key"] == key:
            found = damage(self.run, manifest["outputs"])
            if found:
                self.stage.check_damage(self.run, found, self.may_repair, self.discard)
        elif self._unit_key(manifest) != unit_key:
            self._check_cost(manifest["unit_seconds"], manifest, described, "work")
        view, folder = self._place(unit_key)
        if (_started(folder) or {}).get("key") == unit_key:
            found = self.stage.unfinished_damage(view)
            if found:
                self.stage.check_damage(view, found, self.may_repair, self.discard)

    def _check_cost(self, seconds: float, former: dict[str, Any], described: dict[str, Any], what: str) -> None:
        if seconds <= KEEP_SECONDS or self.discard:
            return
        differ = "; ".join(differences(former, described)) or "the program's own version of the stage"
        raise InputError(
            f"{self.stage.name} was made under other settings or inputs ({differ}), and making it again would replace "
            f"{duration(seconds)} of {what}. Go back to the former settings to keep it, or add --discard "
            f"{self.stage.name} to move it to {self.run.aside.name}/ and make it again",
            file=self.manifest_file if self.manifest_file.exists() else self.unit_folder,
        )

    def _unfinished_seconds(self) -> float:
        done = [read_unit(file) for file in self.unit_folder.glob("[!.]*.json")]
        return sum(unit["seconds"] for unit in done if unit) + self.stage.spent(self.run)

    def _prepare(self, key: str, unit_key: str, described: dict[str, Any]) -> None:
        """Makes room for the work: says what differs, moves aside what is damaged, and removes what is stale."""
        name = self.stage.name
        manifest = self._manifest()
        if manifest is None and self.manifest_file.exists():
            say(f"{name}: the manifest is damaged; moving it and its outputs aside")
            self._set_aside(f"{name}-damaged")
            self.manifest_file.replace(self.run.new_aside(f"{name}-manifest") / self.manifest_file.name)
        folder = self._place(unit_key)[1]
        former = _started(folder)
        if manifest is not None and manifest["key"] == key:
            self.stage.repair(self.run, damage(self.run, manifest["outputs"]))
            for found in damage(self.run, manifest["outputs"]):
                say(f"{name}: {found}; making it again")
                if not found.gone:
                    target = self.run.new_aside(f"{name}-damaged") / found.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self.run.at(found.path).replace(target)
                    say(f"{name}: the changed file is kept as {self.run.relative(target)}")
            # Else outputs that are made again would find the former manifest and never be completed under a new one.
            self.manifest_file.unlink()
        elif manifest is not None and folder != self.unit_folder:
            if former is None:
                for line in differences(manifest, described):
                    say(f"{name}: {line}")
                say(f"{name}: making it again; what was made under other settings or inputs stays until then")
        elif manifest is None and former and former.get("key") != unit_key:
            for line in differences(former, described):
                say(f"{name}: {line}")
            say(f"{name}: unfinished work under other settings or inputs gives way")
            self._set_aside(f"{name}-unfinished")
            former = None
        elif former and former.get("key") == unit_key:
            view = self._place(unit_key)[0]
            found = self.stage.unfinished_damage(view)
            if found:
                self.stage.repair(view, found)
        if not former or former.get("key") != unit_key:
            files.write_json(folder / "started.json", {"key": unit_key, **described})

    def _set_aside(self, label: str) -> None:
        """Moves all that the stage owns out of the way, then deletes what unit manifests name unless it was costly."""
        costly = self._unfinished_seconds() > KEEP_SECONDS
        target = self.run.new_aside(label)
        self.replacement.retire(target)
        for file in sorted(self.unit_folder.glob("[!.]*.json")):
            unit = read_unit(file)
            if unit and not costly:
                remove_named(target, unit["outputs"])
            file.unlink()
        self.replacement.tidy(target)

    def _run_unit(self, view: Run, folder: Path, unit: str, unit_key: str) -> None:
        started = time.time()
        outputs = self.stage.run_unit(view, unit)
        manifest = {
            "stage": self.stage.name,
            "unit": unit,
            "key": unit_key,
            "outputs": entries(view, outputs),
            "seconds": round(time.time() - started, 3),
            "started": started,
        }
        files.write_json(folder / f"{unit}.json", manifest)

    def _finish(self, view: Run, folder: Path, key: str, unit_key: str, described: dict[str, Any]) -> None:
        started = time.time()
        joint = self.stage.finish(view)
        units = [files.read_json(folder / f"{unit}.json") for unit in self.stage.units(view)]
        outputs = {path: entry for unit in units for path, entry in unit["outputs"].items()}
        spent = {path: outputs[path] for path in outputs if self.stage.intermediate(view, view.at(path))}
        for path in spent:
            del outputs[path]
        outputs.update(entries(view, joint))
        begun = min((unit["started"] for unit in units), default=started)
        manifest = {
            "stage": self.stage.name,
            "key": key,
            "unit_key": unit_key,
            "version": __version__,
            **described,
            "outputs": outputs,
            "units": len(units),
            # Time during which at least one process worked on a unit, so that waiting between two calls does not count.
            "seconds": round(_union([(unit["started"], unit["seconds"]) for unit in units]) + time.time() - started, 3),
            "unit_seconds": round(sum(unit["seconds"] for unit in units), 3),
            "started": begun,
        }
        files.write_json(self.tidying_file, {"key": key, "spent": spent})
        if folder == self.unit_folder:
            files.write_json(self.manifest_file, manifest)
        else:
            self.replacement.install(view, folder, manifest, keep=self.discard)
        self._tidy()

    def _tidy(self) -> None:
        """Removes what nobody needs once the manifest is written; does nothing unless a completion asked for it."""
        if not self.tidying_file.exists():
            return
        asked, manifest = files.read_json(self.tidying_file), self._manifest()
        if manifest is not None and manifest["key"] == asked["key"]:
            wanted = {*self.stage.units(self.run), "started"}
            for file in self.unit_folder.glob("[!.]*.json"):
                if file.stem not in wanted:  # a unit of a larger former plan
                    outputs = (read_unit(file) or {}).get("outputs", {})
                    remove_named(self.run.root, {p: e for p, e in outputs.items() if p not in manifest["outputs"]})
                    file.unlink()
            remove_named(self.run.root, asked["spent"])
            for folder in {path for pattern in self.stage.owns(self.run) for path in self.run.root.glob(pattern)}:
                for left in list(files.partial_files(folder)) if folder.is_dir() else []:
                    left.unlink(missing_ok=True)
            self.replacement.tidy_work(KEEP_SECONDS)
        self.tidying_file.unlink()

    def _lock(self, name: str):
        return locked(self.unit_folder / f".{name}.lock", f"{self.stage.name} {name}")

    def why(self) -> str:
        """One line on where the stage stands: finished, in progress, stale, waiting, damaged."""
        try:
            unit_key = self.keys()[1]
            if self.finished():
                return f"finished in {duration(self._manifest()['seconds'])}"
            manifest = self._manifest()
        except DamagedManifest as error:
            return f"damaged: {error}"
        except InputError as error:
            return f"waiting ({error.reason})"
        view, folder = self._place(unit_key)
        former = _started(folder)
        if manifest is not None and manifest["key"] == self.keys()[0]:
            found = damage(self.run, manifest["outputs"])
            return f"damaged: {'; '.join(map(str, found[:3]))}{' and more' if len(found) > 3 else ''}"
        if (former is None and manifest is not None) or (former and former.get("key") != unit_key):
            seconds = manifest["unit_seconds"] if manifest else self._unfinished_seconds()
            asks = f"; took {duration(seconds)}: needs --discard {self.stage.name}" if seconds > KEEP_SECONDS else ""
            return f"stale: made under other settings or inputs, will run again{asks}"
        if former is None:
            return "not started"
        units = self.stage.units(view)
        missing = {unit for unit in units if self._unit(view, folder, unit, unit_key) is None}
        numbers = ",".join(str(place + 1) for place, unit in enumerate(units) if unit in missing)
        return f"{len(units) - len(missing)} of {len(units)} units; missing: {numbers or 'only the joint outputs'}"


def _started(folder: Path) -> dict[str, Any] | None:
    """What work in progress belongs to; None when there is none. A damaged note belongs to nothing."""
    file = folder / "started.json"
    if not file.exists():
        return None
    try:
        value = files.read_json(file)
    except InputError:
        value = None
    return value if isinstance(value, dict) else {}


def _union(spans: list[tuple[float, float]]) -> float:
    """Seconds covered by at least one of the (start, length) spans."""
    covered, end = 0.0, float("-inf")
    for start, length in sorted(spans):
        covered += max(0.0, start + length - max(start, end))
        end = max(end, start + length)
    return covered


def free_bytes(path: Path) -> int:
    """Free space where `path` will lie."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
