"""Manifests: the outputs of a stage or a unit with their digests, and checks that they are unchanged."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.differences import differences as changed_values
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.side_by_side import side_by_side
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage

Outputs = dict[str, JsonObject]
"""Path below the run folder to `sha256` (hexadecimal), `size` (bytes) and `mtime_ns`, and `piece` (bytes) where the
digest is one of pieces: `files.describe`."""

UNIT_FIELDS = {"key": str, "outputs": dict, "seconds": (int, float), "started": (int, float)}
STAGE_FIELDS = {**UNIT_FIELDS, "settings": dict, "inputs": dict, "unit_seconds": (int, float)}


class DamagedManifest(InputError):
    """A manifest that cannot be what this program wrote."""


def read_manifest(file: Path, fields: JsonObject = STAGE_FIELDS) -> JsonObject | None:
    """A manifest, or None when there is none.

    Raises:
        DamagedManifest: the file is not JSON, or a field is missing or of the wrong type.
    """
    if not file.exists():
        return None
    try:
        value = files.read_json(file)
    except InputError as error:
        raise DamagedManifest(f"this manifest is damaged: {error.reason}", file=file) from error
    if not isinstance(value, dict):
        raise DamagedManifest("this manifest is damaged: it is not a JSON object", file=file)
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            raise DamagedManifest(f"this manifest is damaged: '{name}' is missing or of the wrong type", file=file)
    for path, entry in value["outputs"].items():
        if not isinstance(entry, dict) or not {"sha256", "size", "mtime_ns"} <= entry.keys():
            raise DamagedManifest(f"this manifest is damaged: its entry for '{path}' is incomplete", file=file)
        if records.is_outside(path):
            raise DamagedManifest(f"this manifest is damaged: '{path}' is outside the run folder", file=file)
    return value


def stage_manifest(file: Path, stage: str) -> JsonObject | None:
    """A stage's manifest, or None; raises DamagedManifest that says how to rerun the stage.

    Every stage reads the manifests of all its upstream stages several times, and each may name tens of thousands of
        files: an unchanged one is read only once.
    """
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _manifest_as_of(file, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except DamagedManifest as error:
        raise DamagedManifest(f"{error.reason}; --discard {stage} runs it again", file=file) from error


@functools.lru_cache(maxsize=64)
def _manifest_as_of(file: Path, _: tuple[int, ...]) -> JsonObject | None:
    return read_manifest(file)


def entries(run: Run, paths: Iterable[Path]) -> Outputs:
    """Reads files, on all cores, and describes them for a manifest."""
    found = sorted(paths)
    described = side_by_side(functools.partial(files.describe, in_pieces=True), found)
    return dict(zip(map(run.relative, found), described, strict=True))


def damage(
    run: Run, outputs: Outputs, *, read_all: bool = False, advance: Callable[[int], None] | None = None
) -> list[Damage]:
    """Compares outputs with their entries.

    Args:
        run: the run, or a stage's view of it.
        outputs: entries of a manifest.
        read_all: read every file; otherwise only those whose modification time differs.
        advance: called with the size in bytes of every compared file.
    """
    found = []
    for path, entry in outputs.items():
        wrong = files.mismatch(run.at(path), entry, read_all)
        if wrong is not None:
            found.append(Damage(path, *wrong))
        if advance:
            advance(entry["size"])
    return found


def intact(run: Run, outputs: Outputs, times: dict[Path, int] | None = None) -> bool:
    """Whether every output is unchanged; contents are read only if the modification time differs.

    Args:
        run: the run, or a stage's view of it.
        outputs: entries of a manifest.
        times: receives the modification times of the files that were read.
    """
    return all(files.mismatch(run.at(path), entry, times=times) is None for path, entry in outputs.items())


def select(outputs: Outputs, patterns: Iterable[str]) -> dict[str, str]:
    """Digests of the outputs that match one of the glob patterns."""
    wanted = [fnmatch.translate(pattern) for pattern in patterns]
    matches = re.compile("|".join(wanted)).match if wanted else lambda _: None
    return {path: entry["sha256"] for path, entry in outputs.items() if matches(path)}


def read_unit(file: Path) -> JsonObject | None:
    """A unit manifest, or None if the file is missing, damaged, or something else."""
    if file.name == records.STARTED:
        return None
    try:
        return read_manifest(file, UNIT_FIELDS)
    except DamagedManifest:
        return None


def check_present(run: Run, inputs: Iterable[str]) -> None:
    """Refuses inputs of finished stages some of which are missing: a stage would take the rest for all of them.

    Args:
        run: the run.
        inputs: their paths in the run folder; names of files outside are skipped.
    """
    by_folder: dict[str, set[str]] = {}
    for name in inputs:
        if not name.startswith("external:"):
            folder, file = records.below_folder(name)
            by_folder.setdefault(folder, set()).add(file)
    for folder, names in sorted(by_folder.items()):
        place = run.root / folder
        gone = sorted(names - ({path.name for path in place.iterdir()} if place.is_dir() else set()))
        if gone:
            others = f", and {len(gone) - 1} other files of its folder" if len(gone) > 1 else ""
            raise InputError(f"is missing{others}; `sbp run` regenerates it", file=place / gone[0])


def work_of(unit: Mapping[str, JsonValue]) -> float:
    """Seconds of work in a unit, from its manifest, including those of interrupted processes."""
    return float(unit["seconds"] + unit.get("earlier_seconds", 0.0))


def differences(former: JsonObject, present: JsonObject) -> list[str]:
    """What changed between two descriptions (`settings`, `inputs`) of a stage, one line each, at most ten."""
    lines = list(changed_values(former.get("settings", {}), present["settings"]))
    old, new = _flat(former.get("inputs", {})), _flat(present["inputs"])
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            lines.append(f"{name} {'is new' if name not in old else 'was removed' if name not in new else 'changed'}")
    return lines[:10] + ([f"and {len(lines) - 10} more"] if len(lines) > 10 else [])


def _flat(tree: object, prefix: str = "") -> JsonObject:
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {name: value for key, child in tree.items() for name, value in _flat(child, f"{prefix}{key}.").items()}
