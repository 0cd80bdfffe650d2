"""How new outputs of a stage take the place of finished ones, whatever interrupts it.

    .work/NAME-KEY/             the new outputs while they are made, as they will be called below the run folder
    .work/NAME-KEY/units/       their unit manifests
    stages/NAME/.replacing      a replacement that has begun; the next process completes it
    aside/NAME-.../             the former outputs, kept when they were costly

The former outputs are renamed away, then the new ones are renamed into their place: two renames per file or folder, no
copy. Of the former outputs only files that their manifest names, with the same content, are deleted; everything else
that was in the way stays in aside/.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.one_file_system import check_one_file_system
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.manifests import Outputs, read_manifest, read_unit, work_of
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run


class Replacement:
    """Replaces the outputs of one stage. All methods are called under the stage's lock.

    Args:
        run: the run, not a view.
        stage: the stage's name.
        owned: glob patterns below the run folder of what the stage owns.
        manifest_file: the stage's manifest.
        unit_folder: the folder of its unit manifests.
    """

    def __init__(self, run: Run, stage: str, owned: tuple[str, ...], manifest_file: Path, unit_folder: Path):
        self.run, self.stage, self.owned = run, stage, owned
        self.manifest_file, self.unit_folder = manifest_file, unit_folder
        self._journal = unit_folder / ".replacing"

    def check_places(self) -> None:
        """Raises InputError where a link to another file system is in the way of renaming; changes nothing."""
        owned = ((self.run.root / pattern).parent for pattern in self.owned)
        work = self.run.work_folder(self.stage, "").parent
        check_one_file_system(self.run.root, [*owned, work, self.run.aside, self.unit_folder])

    def interrupted(self) -> bool:
        """Whether a replacement has begun but not ended."""
        return self._journal.exists()

    def install(self, view: Run, units: Path, manifest: JsonObject, keep: bool) -> None:
        """Puts the outputs of a view in the place of the former ones, and writes the manifest.

        Args:
            view: the view that the new outputs were made in.
            units: folder of the new unit manifests.
            manifest: the new stage manifest.
            keep: keep the former outputs in aside/ rather than deleting what their manifest names.

        Raises:
            InputError: see `check_places`.
        """
        assert view.work is not None
        self.check_places()
        journal = {
            "work": self.run.root.joinpath(view.work).relative_to(self.run.root).as_posix(),
            "units": units.relative_to(self.run.root).as_posix(),
            "aside": self.run.relative(self.run.new_aside(f"{self.stage}-replaced")),
            "manifest": manifest,
            "former": read_manifest(self.manifest_file),
            "keep": keep,
            "retired": False,
        }
        files.write_json(self._journal, journal)
        self._replace(journal)

    def resume(self) -> None:
        """Completes a replacement that was interrupted."""
        if self.interrupted():
            self.check_places()
            say(f"{self.stage}: completing a replacement that was interrupted")
            self._replace(files.read_json(self._journal))

    def _replace(self, journal: JsonObject) -> None:
        root = self.run.root
        work, aside, units = root / journal["work"], root / journal["aside"], root / journal["units"]
        if not journal["retired"]:
            self.retire(aside)
            for file in self.unit_folder.glob(records.UNIT_MANIFESTS):
                file.unlink()
            # From here on, the owned names and the unit manifests belong to the new outputs.
            journal["retired"] = True
            files.write_json(self._journal, journal)
        for path in self._owned_paths(work):
            target = root / path.relative_to(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # created in the meantime
                target.replace(self.run.new_aside(f"{self.stage}-in-the-way") / target.name)
            path.replace(target)
        for file in sorted(units.glob(records.UNIT_MANIFESTS)):
            file.replace(self.unit_folder / file.name)
        files.write_json(self.manifest_file, journal["manifest"])
        if journal["former"] and not journal["keep"]:
            remove_named(aside, journal["former"]["outputs"])
        self.tidy(aside)
        shutil.rmtree(work, ignore_errors=True)
        _remove_empty(work.parent)
        self._journal.unlink()  # last: everything above can be repeated

    def in_the_way(self) -> bool:
        """Whether there are files in the run folder under the names that the stage owns."""
        owned = self._owned_paths(self.run.root)
        return any(path.is_file() or any(below.is_file() for below in path.rglob("*")) for path in owned)

    def retire(self, aside: Path) -> None:
        """Renames everything that the stage owns in the run folder to `aside`."""
        for path in self._owned_paths(self.run.root):
            target = aside / path.relative_to(self.run.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)

    def tidy(self, aside: Path) -> None:
        """Removes temporary files and empty folders of `aside`; prints a line if something is left."""
        for path in list(files.partial_files(aside)):
            path.unlink(missing_ok=True)
        _remove_empty(aside)
        if aside.exists():
            say(f"{self.stage}: the former files are in {self.run.relative(aside)}")
        _remove_empty(aside.parent)

    def tidy_work(self, keep_seconds: float, spent: Callable[[Run], float]) -> None:
        """Removes unfinished work of other settings that never replaced anything, unless it was costly.

        Args:
            keep_seconds: work of more seconds than this is kept, and a line says where.
            spent: seconds of work in a view that no unit manifest accounts for.
        """
        for work in self.run.work_folder(self.stage, "").parent.glob(f"{self.stage}-*"):
            if not _is_key(work.name.removeprefix(f"{self.stage}-")):
                continue  # another stage whose name starts the same
            if self._costs_more(work, keep_seconds, spent):
                say(
                    f"{self.stage}: costly unfinished work of other settings or inputs stays in "
                    f"{self.run.relative(work)}; restore those to continue it, or remove the folder"
                )
            else:
                shutil.rmtree(work, ignore_errors=True)
        _remove_empty(self.run.work_root)

    def _costs_more(self, work: Path, seconds: float, spent: Callable[[Run], float]) -> bool:
        units = [read for file in (work / records.UNITS).glob(records.UNIT_MANIFESTS) if (read := read_unit(file))]
        try:
            return sum(map(work_of, units)) + spent(self.run.view(work, self.owned)) > seconds
        except InputError:  # a damaged record does not say how much work it was
            return True

    def _owned_paths(self, base: Path) -> list[Path]:
        return sorted({path for pattern in self.owned for path in base.glob(pattern)})


def remove_named(root: Path, outputs: Outputs) -> None:
    """Deletes the files below `root` that a manifest names, unless their content differs."""
    for path, entry in outputs.items():
        if files.matches(root / path, entry):
            (root / path).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Removes a folder and the folders in it that hold no file."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        _remove_empty(path)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_key(text: str) -> bool:
    return len(text) == 12 and all(character in "0123456789abcdef" for character in text)
