"""Digests of files outside the run folder: a corpus is read once for them, by all processes that start together."""

from __future__ import annotations

import fcntl
import functools
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import explained
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run

_NOTED_SECONDS = 5.0
"""How often a process records what it has read, so that others need not read it."""

SMALL_BYTES = 256 << 20
"""Files of this size together are read by any command, `sbp status` and `sbp submit` on a login node included: half a
second. The embedding model that comes with the package (87 MB) is among them, so it does not matter where that is."""

_PREFIX = "external:"
"""Of the name of a file outside the run folder among the inputs of a stage."""

Entry = JsonObject
"""`size` (bytes), `mtime_ns` and `sha256` (hexadecimal) of a file."""


def external_digests(run: Run, paths: list[Path], note: bool = True) -> dict[str, str]:
    """SHA-256 by name and place, remembered by size and time. Processes that call it together share the reading.

    Args:
        run: the run.
        paths: the files.
        note: whether to record what was read. `sbp status` does not: the folder may not be a run folder yet, and must
            stay one that a run can start in.

    Raises:
        InputError: a file changed while it was read.
    """
    known = _known(run, paths)
    missing = [path for path in dict.fromkeys(paths) if path not in known]
    if missing and note:
        _read_together(run, paths)
        known = _known(run, paths)
    elif missing:
        known.update((path, _entry(path)) for path in missing)
    # The name counts, the folder does not: a corpus that moved is the same corpus.
    return {f"{_PREFIX}{path.name}:{place}": known[path]["sha256"] for place, path in enumerate(dict.fromkeys(paths))}


def check_since(run: Run, paths: list[Path], inputs: Mapping[str, str], stage: str) -> None:
    """Refuses files that are not as they were when a stage began: its units may have read some before and some after.

    Args:
        run: the run.
        paths: the files now.
        inputs: `external_digests` of then, among others.
        stage: name of the stage.

    Raises:
        InputError: names the first file that changed, was removed, or is new.
    """
    now = external_digests(run, paths)
    then = {name: digest for name, digest in inputs.items() if name.startswith(_PREFIX)}
    if now == then:
        return
    new, old = _by_file_name(now), _by_file_name(then)
    name = next((name for name in new | old if new.get(name) != old.get(name)), next(iter(new), ""))
    what = "is new" if name not in old else "is gone" if name not in new else "has changed"
    raise InputError(
        f"{name} {what} since {stage} began, which may have read some files before and some after that: it stays "
        "unfinished. Run the same command again when the files stay as they are"
    )


def _by_file_name(digests: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(_PREFIX).rpartition(":")[0]: digest for name, digest in digests.items()}


def remembered(run: Run, paths: list[Path]) -> bool:
    """Whether the digests are known, so that no file has to be read for them."""
    known = _known(run, paths)
    return all(path in known for path in paths)


def to_be_read(run: Run, paths: list[Path]) -> Path | None:
    """The first file whose digest is not known; None if all are, or if reading the files takes no time."""
    known = _known(run, paths)
    unknown = next((path for path in paths if path not in known), None)
    small = unknown is None or sum(path.stat().st_size for path in paths) <= SMALL_BYTES
    return None if small else unknown


def _known(run: Run, paths: list[Path]) -> dict[Path, Entry]:
    noted = _noted(run)
    found = {}
    for path in paths:
        entry = noted.get(str(path))
        if isinstance(entry, dict) and entry == {**_present(path), "sha256": entry.get("sha256")}:
            found[path] = entry
    return found


def _present(path: Path) -> Entry:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _read_together(run: Run, paths: list[Path]) -> None:
    """Reads the files that no process has read; returns when all digests are recorded.

    A file is claimed by a lock on one byte of the lock file, which Linux releases when the process dies.
    """
    lock = run.manifests / records.EXTERNAL_FILES_LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    total = sum(path.stat().st_size for path in paths)
    with open(lock, "a+b") as claims, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        with Progress("reading the inputs for their digests", total, "bytes") as progress:
            known: dict[Path, Entry] = {}
            several = 2 * len(os.sched_getaffinity(0))
            while True:
                # Only files without a known digest are checked again: every process comes here hundreds of times.
                known.update(_known(run, [path for path in paths if path not in known]))
                progress.advance(sum(entry["size"] for entry in known.values()) - progress.done)
                if len(known) == len(set(paths)):
                    return
                wanted = [(place, path) for place, path in enumerate(paths) if path not in known]
                taken = [(place, path) for place, path in _rotated(wanted, several) if _take(claims, place)]
                # Another process may have noted one of them since `_known` looked.
                known.update(_known(run, [path for path in paths if path not in known]))
                began = time.monotonic()
                _read_and_note(run, pool, [path for _, path in taken if path not in known], claims, taken)
                if not taken:
                    time.sleep(0.2)
                elif time.monotonic() - began < _NOTED_SECONDS / 2:
                    several *= (
                        2  # every round reads and writes the whole record, so many small files are read per round
                    )


def _read_and_note(
    run: Run, pool: ThreadPoolExecutor, paths: list[Path], claims: IO[bytes], taken: list[tuple[int, Path]]
) -> None:
    try:
        fresh: dict[str, Entry] = {}
        noted = time.monotonic()
        for path, entry in zip(paths, pool.map(_entry, paths), strict=True):
            fresh[str(path)] = entry
            if time.monotonic() - noted > _NOTED_SECONDS:
                _note(run, fresh)
                fresh, noted = {}, time.monotonic()
        if fresh:
            _note(run, fresh)
    finally:
        for place, _ in taken:
            fcntl.lockf(claims, fcntl.LOCK_UN, 1, place)


def _entry(path: Path) -> Entry:
    entry = files.describe(path)
    after = _present(path)
    if entry != {**after, "sha256": entry["sha256"]}:  # it would be read again and again while it is being written
        sizes = f"{entry['size']:,} bytes before, {after['size']:,} after"
        raise InputError(
            f"changed while it was read ({sizes}): is it still being written? Start again when it is complete",
            file=path,
        )
    return entry


def _rotated(wanted: list[tuple[int, Path]], several: int) -> Iterator[tuple[int, Path]]:
    """So many files, not the same ones in every process, so that others find some left."""
    begin = os.getpid() * 7919 % len(wanted)
    yield from (wanted + wanted)[begin : begin + min(several, len(wanted))]


def _take(claims: IO[bytes], place: int) -> bool:
    try:
        with explained(Path(claims.name)):
            fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _note(run: Run, fresh: dict[str, Entry]) -> None:
    file = run.manifests / records.EXTERNAL
    with open(file.with_name(records.EXTERNAL_LOCK), "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that start together would lose each other's entries
        files.write_json(file, {**_noted(run), **fresh})


def _noted(run: Run) -> JsonObject:
    file = run.manifests / records.EXTERNAL
    try:
        status = file.stat()
        value = _read_as_of(file, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except (InputError, FileNotFoundError):  # only a cache: a damaged one is rebuilt
        return {}
    return value if isinstance(value, dict) else {}


@functools.lru_cache(maxsize=1)
def _read_as_of(file: Path, _: tuple[int, ...]) -> JsonValue:
    """7 MB for the files of DCLM, which a command asks for several times."""
    return files.read_json(file)
