"""Ownership of folders: a run folder is marked with its recipe, and no other folder is ever written to.

sbp-run.json in the run folder names the recipe. Without it, only a folder that is empty or missing becomes a run
folder.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.errors import NO_ROOM, InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe, dump_recipe, lines_in, load_recipe, override
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run

KEY = "run_folder"

_WRITTEN = "# Written by sbp with every default filled in; edits are lost."
_HEADER = _WRITTEN + " The recipe of this run: {recipe}\n"


def claim(run: Run) -> None:
    """Makes the run folder, or finds that it is this recipe's; writes nothing into any other folder.

    Raises:
        InputError: the folder holds something else, belongs to another recipe, cannot be written, or the recipe or its
            inputs are inside it.
    """
    _check_place(run)
    marker = read_marker(run.root)
    if marker is None:
        _check_free(run)
    else:
        _check_same_recipe(run, marker)
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        if marker is None or marker["recipe"] != _recipe_path(run.recipe):
            created = marker["created"] if marker else time.strftime("%Y-%m-%dT%H:%M:%S%z")
            recipe = _recipe_path(run.recipe)
            mark = {"recipe": recipe, "from_here": os.path.relpath(recipe, run.root), "created": created}
            files.write_json(run.marker_file, {**mark, "version": __version__})
            write_resolved(run)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise InputError(f"cannot be used as run folder: {error.strerror}", file=run.root, key=KEY) from error


def write_resolved(run: Run) -> None:
    """Writes resolved.yaml: the recipe as it runs, with every default."""
    files.write_text(run.resolved_file, _HEADER.format(recipe=_recipe_path(run.recipe)) + dump_recipe(run.recipe))


def read_marker(root: Path) -> JsonObject | None:
    """The contents of sbp-run.json; None for a folder that is not a run folder.

    Raises:
        InputError: the marker is damaged.
    """
    file = Run(None, root).marker_file  # type: ignore[arg-type]  # paths need no recipe
    try:
        if not file.exists():
            return None
        marker = files.read_json(file)
    except InputError as error:
        raise InputError(f"{error.reason}; {_way_on(root)}", file=file) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file, key=KEY) from error
    if not (isinstance(marker, dict) and isinstance(marker.get("recipe"), str) and "created" in marker):
        raise InputError(f"'recipe' or 'created' is missing; {_way_on(root)}", file=file)
    return marker


def _way_on(root: Path) -> str:
    if _holds_a_run(root):
        return "remove it to have it recreated"
    return 'if this is a run folder, write {"recipe": "", "created": ""} into it to have it recreated'


def recipe_of(path: Path | str, overrides: list[str]) -> Recipe:
    """The recipe of a file, or the one that a run folder was last run with.

    Args:
        path: a recipe file, a run folder, or a copy of a recipe that was submitted.
        overrides: `key=value` words.

    Raises:
        InputError: neither.
    """
    place = Path(path)
    written = Path(records.RESOLVED)
    try:
        if place.name == records.RESOLVED and (place.parent / records.MARKER).exists():
            place = place.parent
        elif place.parent.name == records.SUBMITTED and (place.parents[1] / records.MARKER).exists():
            written, place = Path(records.SUBMITTED, place.name), place.parents[1]
        folder = place.is_dir()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from error
    if not folder:
        return load_recipe(path, overrides)
    marker = read_marker(place)
    if marker is None:
        raise InputError("is a folder, but not a run folder; give a recipe file", file=place)
    root = place.resolve()
    recipe = load_recipe(root / written, [override(KEY, str(root)), *overrides])
    recipe.source = Path(marker["recipe"])
    beside = root / str(marker.get("from_here", ""))
    if not recipe.source.exists() and beside.is_file():  # both were moved, or copied to another machine
        recipe.source = beside.resolve()
    given = {key: line for key, line in recipe.lines.items() if line == 0}  # other lines are those of the copy
    recipe.lines.clear()
    recipe.lines.update(lines_in(recipe.source, recipe) | given)
    return recipe


def _check_place(run: Run) -> None:
    """The recipe and its inputs must be outside the run folder, which belongs to the program."""
    recipe = run.recipe
    if recipe.source is not None and recipe.source.resolve().is_relative_to(run.root):
        raise InputError(
            f"the recipe is inside its run folder {run.root}, which only the program may write to; choose another",
            file=recipe.source,
            key=KEY,
        )
    for pattern in recipe.documents.inputs:
        for path in _matching(recipe.folder, pattern):
            if path.resolve().is_relative_to(run.root):
                raise InputError(
                    f"{path} is inside the run folder {run.root}, which only the program may write to",
                    file=recipe.source,
                    key="documents.inputs",
                )


def _matching(folder: Path, pattern: str) -> list[Path]:
    import glob

    fixed = Path(os.path.normpath(folder / pattern))
    if not glob.has_magic(pattern):
        return [fixed]
    return [folder / name for name in glob.iglob(pattern, root_dir=folder, recursive=True)]  # noqa: PTH207


def _check_free(run: Run) -> None:
    """A folder without a marker must be empty, or hold a run whose marker was removed or that is older than markers."""
    root = run.root
    try:
        if not root.exists():
            return
        if not root.is_dir():
            raise InputError("is a file, not a folder", file=root, key=KEY)
        if _holds_a_run(root):
            return
        # The script that `sbp submit --dry-run` prints makes the folder of the job logs.
        strangers = sorted(path.name for path in root.iterdir() if path.name != records.LOGS)
        strangers += sorted(path.name for path in (root / records.LOGS).glob("*") if path.name != records.SLURM)
    except OSError as error:
        raise InputError(f"cannot be used as run folder: {error.strerror}", file=root, key=KEY) from error
    if strangers:
        raise InputError(
            f"is not empty and not a run folder: it contains {', '.join(strangers[:3])}"
            f"{' and more' if len(strangers) > 3 else ''}; choose an empty or a new folder",
            file=root,
            key=KEY,
        )


def _holds_a_run(root: Path) -> bool:
    """Whether there are files that only this program writes, apart from the marker."""
    resolved = root / records.RESOLVED
    if resolved.is_file() and (root / records.STAGES).is_dir():
        with resolved.open("rb") as stream:
            if stream.read(len(_WRITTEN)) == _WRITTEN.encode():
                return True
    written = any(file.is_file() for file in (resolved, root / records.RECIPE_OF_VERSION_0_1))
    return written and any((root / records.STAGES).glob(records.STARTED_STAGES))


def _check_same_recipe(run: Run, marker: JsonObject) -> None:
    recorded, present = marker["recipe"], _recipe_path(run.recipe)
    if recorded == present:
        return
    beside = run.root / str(marker.get("from_here", ""))
    if present and beside.is_file() and beside.samefile(present):
        return  # the recipe was copied or moved together with its run folder
    if present and recorded and Path(recorded).exists() and not Path(recorded).samefile(present):
        raise InputError(
            f"is the run folder of another recipe, {recorded}; choose another with {KEY}=FOLDER, or remove "
            f"{run.marker_file.name} in it to assign it to this recipe",
            file=run.root,
            key=KEY,
        )
    if recorded:
        say(f"{run.root}: was the run folder of {recorded}, which no longer exists; now belongs to {present}")


def _recipe_path(recipe: Recipe) -> str:
    return str(recipe.source.resolve()) if recipe.source else ""
