"""Stages: functions from files to files, closed by manifests, resumed after any interruption.

A stage is cut into units (usually one per shard of its input). A unit writes its outputs atomically and then a unit
manifest; when all units are there, `finish` makes the joint outputs and the stage manifest closes the stage:

    stages/NAME.json            settings, digests of inputs and outputs, seconds; its presence means "finished"
    stages/NAME/UNIT.json       the same for one unit
    stages/NAME/started.json    what the work in progress belongs to

A key, the digest of settings and inputs, stands in each of them. Work under another key is not trusted: a changed
recipe or a changed input removes it and says so. Inputs are compared by content, so a stage that ran again with the
same result does not disturb those after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_sbp import __version__, files
from megatron_sbp.errors import InputError
from megatron_sbp.progress import duration, say
from megatron_sbp.run_folder import Run


class Stage:
    """What a stage must say of itself. Subclasses live beside the work they do."""

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

    def device_for(self, run: Run) -> str:
        """`device`, for a stage whose recipe decides it."""
        return self.device

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        """Outputs of other stages that this one reads: stage name to glob patterns below the run folder."""
        return {}

    def external(self, run: Run) -> list[Path]:
        """Files outside the run folder that this stage reads."""
        return []

    def settings(self, run: Run) -> dict[str, Any]:
        """All of the recipe that changes this stage's outputs."""
        return {}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        """The settings that change what a unit writes; more units then keep the finished ones."""
        return self.settings(run)

    def units(self, run: Run) -> list[str]:
        """Names of the units. They follow from recipe and inputs alone."""
        return ["all"]

    def owns(self, run: Run) -> list[Path]:
        """Files and folders that belong to this stage alone; removed when its key changes."""
        raise NotImplementedError

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        """Does one unit and returns the files it wrote, each written atomically (or resumed by its writer)."""
        raise NotImplementedError

    def finish(self, run: Run) -> list[Path]:
        """Makes the outputs that need all units, and returns them."""
        return []

    def intermediate(self, run: Run, path: Path) -> bool:
        """Whether a unit's output is needed by `finish` only; it is removed when the stage closes."""
        return False


def by_name(stages: list[Stage], name: str) -> Stage:
    """The stage of that name."""
    return next(stage for stage in stages if stage.name == name)


class StageRunner:
    """Runs one stage of one run in this process, or part of its units.

    Args:
        run: The run.
        stage: The stage.
        graph: All stages, in order; those that `stage` reads must be finished.
    """

    def __init__(self, run: Run, stage: Stage, graph: list[Stage]):
        self.run, self.stage, self.graph = run, stage, graph
        self.manifest_file = run.manifests / f"{stage.name}.json"
        self.unit_folder = run.manifests / stage.name
        self.started_file = self.unit_folder / "started.json"

    # -- what it depends on ------------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, str]:
        """Digest of every input file. Raises InputError when a stage that is read from is not finished."""
        found: dict[str, str] = {}
        for name, patterns in self.stage.reads(self.run).items():
            file = self.run.manifests / f"{name}.json"
            if not file.exists():
                raise InputError(f"{self.stage.name} needs the stage '{name}', which is not finished", file=file)
            outputs = files.read_json(file)["outputs"]
            for path, entry in outputs.items():
                if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
                    found[path] = entry["sha256"]
        external = self.stage.external(self.run)
        if external:
            found.update(_external_digests(self.run, external))
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
        """Whether the stage is closed under its present key and its outputs are intact. May raise as `inputs` does."""
        if not self.manifest_file.exists():
            return False
        manifest = files.read_json(self.manifest_file)
        return manifest["key"] == self.keys()[0] and _intact(self.run, manifest["outputs"])

    def _closed(self, key: str) -> bool:
        return self.manifest_file.exists() and files.read_json(self.manifest_file)["key"] == key

    def missing_units(self, unit_key: str | None = None) -> list[str]:
        """Units without an intact result under the present key."""
        if unit_key is None:
            unit_key = self.keys()[1]
        return [unit for unit in self.stage.units(self.run) if not self._unit_done(unit, unit_key)]

    def _unit_done(self, unit: str, unit_key: str) -> bool:
        file = self.unit_folder / f"{unit}.json"
        manifest = files.read_json(file) if file.exists() else None
        return bool(manifest and manifest["key"] == unit_key and _intact(self.run, manifest["outputs"]))

    # -- the work ----------------------------------------------------------------------------------------------------

    def execute(self, shard: tuple[int, int] = (1, 1)) -> bool:
        """Does the missing units of one shard, and closes the stage when all units are there.

        Args:
            shard: (i, n), i from 1 to n: every n-th unit, beginning with the i-th.

        Returns:
            Whether the stage is closed now.

        Raises:
            InputError: a stage that is read from is not finished, or bad input to this one.
        """
        key, unit_key, described = self.keys()
        if self.finished():
            return True
        with self._lock("prepare"):
            if self.finished():  # another process closed it while this one waited
                return True
            # Else outputs that are made again would find the former manifest and never be closed under a new one.
            self.manifest_file.unlink(missing_ok=True)
            self._prepare(unit_key, described)
        index, count = shard
        mine = [unit for place, unit in enumerate(self.stage.units(self.run)) if place % count == index - 1]
        for unit in mine:
            with self._lock(unit):
                # In this order: a process that closed the stage meanwhile wrote the manifest before it removed what
                # only the closing step needed, and a unit without that looks undone.
                if not self._unit_done(unit, unit_key) and not self._closed(key):
                    self._run_unit(unit, unit_key)
        with self._lock("prepare"):
            if self.finished():
                return True
            if self.missing_units(unit_key):
                return False
            self._close(key, described)
        return True

    def _prepare(self, unit_key: str, described: dict[str, Any]) -> None:
        former = files.read_json(self.started_file) if self.started_file.exists() else None
        if former and former["key"] != unit_key:
            for line in _differences(former, described):
                say(f"{self.stage.name}: {line}")
            say(f"{self.stage.name}: removing what was made under other settings or inputs")
            self.clear()
            former = None
        if not former:
            files.write_json(self.started_file, {"key": unit_key, **described})

    def clear(self) -> None:
        """Removes the stage's outputs and manifests. The stage manifest goes first: no instant shows it as finished."""
        self.manifest_file.unlink(missing_ok=True)
        for path in self.stage.owns(self.run):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for file in self.unit_folder.glob("*.json"):
            file.unlink()

    def _run_unit(self, unit: str, unit_key: str) -> None:
        started = time.time()
        outputs = self.stage.run_unit(self.run, unit)
        manifest = {
            "stage": self.stage.name,
            "unit": unit,
            "key": unit_key,
            "outputs": _entries(self.run, outputs),
            "seconds": round(time.time() - started, 3),
            "started": started,
        }
        files.write_json(self.unit_folder / f"{unit}.json", manifest)

    def _close(self, key: str, described: dict[str, Any]) -> None:
        started = time.time()
        joint = self.stage.finish(self.run)
        units = [files.read_json(self.unit_folder / f"{unit}.json") for unit in self.stage.units(self.run)]
        outputs = {path: entry for unit in units for path, entry in unit["outputs"].items()}
        spent = [path for path in outputs if self.stage.intermediate(self.run, self.run.root / path)]
        for path in spent:
            del outputs[path]
        outputs.update(_entries(self.run, joint))
        begun = min((unit["started"] for unit in units), default=started)
        manifest = {
            "stage": self.stage.name,
            "key": key,
            "version": __version__,
            **described,
            "outputs": outputs,
            "units": len(units),
            # Time during which at least one process worked on a unit, so that waiting between two calls does not count.
            "seconds": round(_union([(unit["started"], unit["seconds"]) for unit in units]) + time.time() - started, 3),
            "unit_seconds": round(sum(unit["seconds"] for unit in units), 3),
            "started": begun,
        }
        files.write_json(self.manifest_file, manifest)
        kept = set(outputs)
        wanted = set(self.stage.units(self.run))
        for file in self.unit_folder.glob("*.json"):
            if file != self.started_file and file.stem not in wanted:  # a unit of a larger former plan
                for path in files.read_json(file)["outputs"]:
                    if path not in kept:
                        (self.run.root / path).unlink(missing_ok=True)
                file.unlink()
        for path in spent:
            (self.run.root / path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Lets one process at a time in; says so when it has to wait."""
        self.unit_folder.mkdir(parents=True, exist_ok=True)
        with open(self.unit_folder / f".{name}.lock", "a+") as file:
            patient = time.monotonic() + 5.0  # shards that start together wait for one another all the time
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > patient:
                        say(f"{self.stage.name} {name}: another process is at it; waiting")
                        fcntl.flock(file, fcntl.LOCK_EX)
                        break
                    time.sleep(0.05)
            yield

    def why(self) -> str:
        """One line on where the stage stands: finished, in progress, stale, waiting."""
        try:
            unit_key = self.keys()[1]
        except InputError as error:
            return f"waiting ({error.reason})"
        if self.finished():
            return f"finished in {duration(files.read_json(self.manifest_file)['seconds'])}"
        units = self.stage.units(self.run)
        missing = self.missing_units(unit_key)
        if self.started_file.exists() and files.read_json(self.started_file)["key"] != unit_key:
            return "stale: made under other settings or inputs, will run again"
        if len(missing) == len(units) and not self.started_file.exists():
            return "not started"
        numbers = ",".join(str(place + 1) for place, unit in enumerate(units) if unit in set(missing))
        return f"{len(units) - len(missing)} of {len(units)} units; missing: {numbers or 'only the closing step'}"


def _entries(run: Run, paths: list[Path]) -> dict[str, dict[str, Any]]:
    entries = {}
    for path in sorted(paths):
        stat = path.stat()
        entries[run.relative(path)] = {"sha256": files.sha256(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    return entries


def _intact(run: Run, outputs: dict[str, dict[str, Any]]) -> bool:
    """Whether every output is there unchanged; contents are read again only where size or time differ."""
    for path, entry in outputs.items():
        file = run.root / path
        try:
            stat = file.stat()
        except FileNotFoundError:
            return False
        if stat.st_size != entry["size"]:
            return False
        if stat.st_mtime_ns != entry["mtime_ns"] and files.sha256(file) != entry["sha256"]:
            return False
    return True


def _external_digests(run: Run, paths: list[Path]) -> dict[str, str]:
    """Digests of files outside the run folder, remembered by size and time so that a big corpus is read once."""
    file = run.manifests / "external.json"
    known = files.read_json(file) if file.exists() else {}
    fresh = {}
    for path in paths:
        stat = path.stat()
        entry = known.get(str(path))
        if not (entry and entry["size"] == stat.st_size and entry["mtime_ns"] == stat.st_mtime_ns):
            entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": files.sha256(path)}
        fresh[str(path)] = entry
    if any(known.get(path) != entry for path, entry in fresh.items()):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file.with_name(".external.lock"), "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # processes that start together would write the same temporary name
            known = files.read_json(file) if file.exists() else {}
            files.write_json(file, {**known, **fresh})
    # The name counts, the folder does not: a corpus that moved is the same corpus.
    return {f"external:{Path(path).name}:{place}": entry["sha256"] for place, (path, entry) in enumerate(fresh.items())}


def _differences(former: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """What changed between two descriptions of a stage, one line each, at most ten."""
    lines = []
    for kind in ("settings", "inputs"):
        old, new = _flat(former.get(kind, {})), _flat(present[kind])
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name):
                continue
            if kind == "settings":
                lines.append(f"{name} was {old.get(name)!r}, is {new.get(name)!r}")
            else:
                lines.append(f"{name} {'is new' if name not in old else 'is gone' if name not in new else 'changed'}")
    return lines[:10] + ([f"and {len(lines) - 10} more"] if len(lines) > 10 else [])


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {name: value for key, child in tree.items() for name, value in _flat(child, f"{prefix}{key}.").items()}


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
