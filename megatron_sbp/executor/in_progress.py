"""Work in progress: its fingerprint, and how long processes worked on it."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.fingerprints import Fingerprints
from megatron_sbp.executor.manifests import work_of
from megatron_sbp.stages import record_names as records


def started_note(folder: Path) -> JsonObject | None:
    """The fingerprint of work in progress; None without any. A damaged note matches no fingerprint."""
    file = folder / records.STARTED
    if not file.exists():
        return None
    try:
        value = files.read_json(file)
    except InputError:
        value = None
    return value if isinstance(value, dict) else {}


def belongs(note: JsonObject | None, fingerprints: Fingerprints) -> bool:
    """Whether the work in progress that this note describes can continue under these fingerprints."""
    return note is not None and fingerprints.continued_from(note.get("key"), note.get("inputs", {}))


def worked(units: list[JsonObject]) -> float:
    """Seconds during which at least one process worked on a unit, from the units' manifests.

    Work done before an interruption counts as if it had been done just before the rest.
    """
    covered, until = 0.0, float("-inf")
    for begin, end in sorted(
        (unit["started"] + unit["seconds"] - work_of(unit), unit["started"] + unit["seconds"]) for unit in units
    ):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered
