"""The state of a stage: finished, in progress, stale, or damaged; and what a new start would discard."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import duration, say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.external import external_digests, to_be_read
from megatron_sbp.executor.fingerprints import Fingerprints, fingerprints_of, of_all_units
from megatron_sbp.executor.in_progress import belongs, started_note, worked
from megatron_sbp.executor.manifests import (
    UNIT_FIELDS,
    DamagedManifest,
    damage,
    differences,
    intact,
    read_manifest,
    read_unit,
    select,
    stage_manifest,
    work_of,
)
from megatron_sbp.executor.read_files import note_times
from megatron_sbp.executor.replacement import Replacement
from megatron_sbp.executor.surplus import check_idle
from megatron_sbp.executor.task_numbers import shown
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class Unread(InputError):
    """The digest of a file outside the run folder is not known."""


class NotFinished(InputError):
    """A stage that is read from is not finished."""


class StageState:
    """The state of one stage of one run, and whether it may be made again. Reads only, except for `note_times`.

    Args:
        run: The run.
        stage: The stage.
        graph: All stages, in order; those that `stage` reads must be finished.
        discard: Whether costly outputs of the stage may be replaced. They are moved to aside/.
        repair: Whether the stage may go back to what is intact of damaged outputs.
        reads_data: Whether large files outside the run folder may be read for their digests, which can take hours.
    """

    keep_seconds = 300.0
    """Outputs that took more seconds of work than this are replaced only with `discard`."""

    def __init__(
        self,
        run: Run,
        stage: Stage,
        graph: list[Stage],
        *,
        discard: bool = False,
        repair: bool = False,
        reads_data: bool = True,
    ):
        self.run, self.stage, self.graph = run, stage, graph
        self.discard, self.may_repair, self.reads_data = discard, repair, reads_data
        self.manifest_file = run.stage_manifest(stage.name)
        self.unit_folder = run.manifests / stage.name
        self.tidying_file = self.unit_folder / ".tidying"
        self._times: dict[Path, int] = {}
        self.replacement = Replacement(run, stage.name, stage.owns(run), self.manifest_file, self.unit_folder)

    def inputs(self) -> dict[str, str]:
        """Digest of every input file.

        Raises:
            NotFinished: a stage that is read from is not finished.
            Unread: large files outside the run folder have no digest yet, and may not be read.
        """
        found: dict[str, str] = {}
        for name, patterns in self.stage.reads(self.run).items():
            file = self.run.stage_manifest(name)
            manifest = stage_manifest(file, name)
            if manifest is None:
                raise NotFinished(f"{self.stage.name} needs the stage '{name}', which is not finished", file=file)
            found.update(select(manifest["outputs"], map(of_all_units, patterns)))
        external = self.stage.external(self.run)
        if external:
            unread = None if self.reads_data else to_be_read(self.run, external)
            if unread is not None:
                raise Unread("its input files have not been read yet", file=unread)
            found.update(external_digests(self.run, external, note=self.reads_data))
        return found

    def fingerprints(self, inputs: dict[str, str] | None = None) -> Fingerprints:
        """What the stage would be made from now. May raise as `inputs` does.

        Args:
            inputs: `inputs()` of a moment ago.

        What a stage measured of its own outputs, and reads in its settings, counts for these outputs alone.
        """
        patterns = [pattern for several in self.stage.reads(self.run).values() for pattern in several]
        inputs = self.inputs() if inputs is None else inputs
        fingerprints = fingerprints_of(self.stage, self.run, inputs, patterns)
        return (
            fingerprints
            if self._stays(fingerprints)
            else fingerprints_of(self.stage, self._beside(fingerprints), inputs, patterns)
        )

    def _stays(self, fingerprints: Fingerprints) -> bool:
        """Whether work under these fingerprints (those of the units count) continues what is in the run folder."""
        manifest = self._manifest()
        if manifest is not None:
            return self._continues(manifest, fingerprints)
        note = started_note(self.unit_folder)
        if self.manifest_file.exists():
            return False  # it is damaged
        if note:
            return belongs(note, fingerprints)
        return self.stage.checks_own_work or any(map(read_unit, self.unit_folder.glob(records.UNIT_MANIFESTS)))

    def finished(self, fingerprints: Fingerprints | None = None) -> bool:
        """Whether the stage is complete under its present fingerprint, with intact outputs. May raise as `inputs` does.

        Args:
            fingerprints: `fingerprints()` of a moment ago. Working them out compares every file of a corpus with what
                was noted of it.
        """
        if self.replacement.interrupted() or self.tidying_file.exists():
            return False
        manifest = self._manifest()
        if manifest is None or manifest["key"] != (fingerprints or self.fingerprints()).stage:
            return False
        return intact(self.run, manifest["outputs"], self._times)

    def note_times(self) -> None:
        """Writes down the modification times of outputs that `finished` had to read, as it reads all of a copied run
        folder: the next command need not."""
        note_times(self.run, self.stage.name, self._times)

    def _manifest(self) -> JsonObject | None:
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

    def missing_units(self, fingerprints: Fingerprints | None = None) -> list[str]:
        """Units without an intact result under the present fingerprint. `fingerprints` as in `finished`."""
        fingerprints = fingerprints or self.fingerprints()
        view, folder = self._place(fingerprints)
        return [unit for unit in self.stage.units(view) if self._unit(view, folder, unit, fingerprints) is None]

    def _place(self, fingerprints: Fingerprints) -> tuple[Run, Path]:
        """Where units are made, and where their manifests are: beside finished outputs that they do not continue."""
        manifest = self._manifest()
        if manifest is None or self._continues(manifest, fingerprints):
            return self.run, self.unit_folder
        view = self._beside(fingerprints)
        assert view.work is not None
        return view, view.work / records.UNITS

    def _beside(self, fingerprints: Fingerprints) -> Run:
        """The run as seen by work that is done beside finished outputs."""
        return self.run.view(self.run.work_folder(self.stage.name, fingerprints.work), self.stage.owns(self.run))

    def _unit_key(self, manifest: JsonObject) -> str:
        if "unit_key" in manifest:
            return manifest["unit_key"]
        return str((started_note(self.unit_folder) or {}).get("key"))  # manifests of 0.1.0 and before

    def _continues(self, manifest: JsonObject, fingerprints: Fingerprints) -> bool:
        """Whether the units of a finished stage stay as they are."""
        return fingerprints.continued_from(self._unit_key(manifest), manifest["inputs"])

    def _grown(self, manifest: JsonObject, fingerprints: Fingerprints) -> bool:
        """Whether all that the finished outputs were made from is still there, and the new outputs contain them."""
        inputs = fingerprints.described["inputs"]
        same = all(inputs.get(path) == digest for path, digest in manifest["inputs"].items())
        return same and self.stage.grown_from(self.run, manifest["settings"])

    def _unit(self, view: Run, folder: Path, unit: str, fingerprints: Fingerprints) -> JsonObject | None:
        """The manifest of a unit that is done under this key and intact."""
        try:
            manifest = read_manifest(folder / records.manifest(unit), UNIT_FIELDS)
        except DamagedManifest as error:
            say(f"{self.stage.name} {unit}: {error}; redoing the unit")
            return None
        good = manifest is not None and manifest["key"] == fingerprints.unit(unit) and intact(view, manifest["outputs"])
        return manifest if good else None

    def check(self, fingerprints: Fingerprints | None = None) -> None:
        """Raises InputError when `execute` would discard costly work or what another process is making, or is not asked
        to repair what is damaged.

        Changes nothing. `fingerprints` as in `finished`.
        """
        fingerprints = fingerprints or self.fingerprints()
        if not self.replacement.interrupted():
            self._check(fingerprints)

    def _check(self, fingerprints: Fingerprints) -> None:
        manifest = self._manifest()
        if manifest is None:
            former = started_note(self.unit_folder)
            if former and not belongs(former, fingerprints):
                check_idle(self.stage.name, self.unit_folder, differences(former, fingerprints.described))
                self._check_cost(self._unfinished_seconds(), former, fingerprints.described, "unfinished work")
        elif manifest["key"] == fingerprints.stage:
            found = damage(self.run, manifest["outputs"])
            if found:
                self.stage.check_damage(self.run, found, self.may_repair, self.discard)
        elif not self._continues(manifest, fingerprints) and not self._grown(manifest, fingerprints):
            self._check_cost(manifest["unit_seconds"], manifest, fingerprints.described, "work")
        view, folder = self._place(fingerprints)
        if folder != self.unit_folder:
            self.replacement.check_places()  # before hours of work, not after them
        if belongs(started_note(folder), fingerprints):
            found = self.stage.unfinished_damage(view)
            if found:
                self.stage.check_damage(view, found, self.may_repair, self.discard)

    def _check_cost(self, seconds: float, former: JsonObject, described: JsonObject, what: str) -> None:
        if seconds <= self.keep_seconds or self.discard:
            return
        differ = "; ".join(differences(former, described)) or "the program's own version of the stage"
        raise InputError(
            f"{self.stage.name} was made under other settings or inputs ({differ}), and running it again would replace "
            f"{duration(seconds)} of {what}. Restore the former settings to keep it, or add --discard "
            f"{self.stage.name} to move it to {self.run.aside.name}/ and run it again",
            file=self.manifest_file if self.manifest_file.exists() else self.unit_folder,
        )

    def _unfinished_seconds(self) -> float:
        done = [read_unit(file) for file in self.unit_folder.glob(records.UNIT_MANIFESTS)]
        return sum(work_of(unit) for unit in done if unit) + self.stage.spent(self.run)

    def why(self) -> str:
        """One line on the state of the stage: finished, in progress, stale, waiting, damaged.

        Raises nothing for files that are lost or damaged: `sbp status` shows the other stages too.
        """
        try:
            return self._standing()
        except DamagedManifest as error:
            return f"damaged: {error}"
        except Unread as error:
            if self.manifest_file.exists():
                return f"{error.file} has changed or was touched since it finished; the next run reads it"
            return f"not started ({error.reason})"
        except NotFinished as error:
            return f"waiting ({error.reason})"
        except InputError as error:
            return f"waiting ({error})"
        except OSError as error:
            return f"waiting ({InputError(error.strerror or repr(error), file=error.filename)})"
        except (LookupError, TypeError, ValueError) as error:  # JSON, but with other keys and values than were written
            return f"waiting (a file does not hold what was written, see `sbp verify`: {error!r})"

    def _standing(self) -> str:
        fingerprints = self.fingerprints()
        manifest = self._manifest()
        if manifest is not None and self.finished(fingerprints):
            return f"finished in {duration(manifest['seconds'])}"
        view, folder = self._place(fingerprints)
        former = started_note(folder)
        if manifest is not None and manifest["key"] == fingerprints.stage:
            found = damage(self.run, manifest["outputs"])
            return f"damaged: {'; '.join(map(str, found[:3]))}{' and more' if len(found) > 3 else ''}"
        if (former is None and manifest is not None) or (former and not belongs(former, fingerprints)):
            seconds = manifest["unit_seconds"] if manifest else self._unfinished_seconds()
            seconds = 0.0 if manifest and self._grown(manifest, fingerprints) else seconds
            asks = (
                f"; took {duration(seconds)}: needs --discard {self.stage.name}" if seconds > self.keep_seconds else ""
            )
            return f"stale: made under other settings or inputs, will run again{asks}"
        if former is None:
            return "not started"
        units = self.stage.units(view)
        missing = {unit for unit in units if self._unit(view, folder, unit, fingerprints) is None}
        numbers = shown([place for place, unit in enumerate(units, start=1) if unit in missing])
        progress = self.stage.progress(view)
        if progress:
            return f"in progress: {progress}"
        done = f"{len(units) - len(missing)} of {len(units)} units"
        pace = self.stage.pace(view) if missing else ""
        if pace:
            return f"{done}; {pace}; missing: units {numbers}"
        what = f"units {numbers}" if missing else "only the joint outputs"
        return f"{done}{self._rate(folder, len(missing))}; missing: {what}"

    def _rate(self, folder: Path, missing: int) -> str:
        """How fast all workers together finished units, and how long the others take at that rate."""
        done = [unit for unit in map(read_unit, folder.glob(records.UNIT_MANIFESTS)) if unit]
        if not done or not missing:
            return ""
        seconds = worked(done)
        left = seconds * missing / len(done)
        return f", {3600 * len(done) / seconds:,.1f} units/h, {duration(left)} left" if left >= 60 else ""
