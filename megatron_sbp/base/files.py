"""Files that are either complete or absent: atomic writes, digests, compressed JSON lines."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import zstandard

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.piece_digests import sha256_between, sha256_of_pieces
from megatron_sbp.base.untyped import JsonObject, JsonValue

PARTIAL_SUFFIX = ".partial"

_numbers = itertools.count()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; the file written there gets its final name on leaving the block.

    The file is flushed to disk before the rename, so that a crash leaves the old file or the new one. The temporary
    name belongs to this process alone, ends in `.partial` in front of the suffixes of `path` (some writers look at the
    suffix), and is removed on an exception. Leftovers of dead processes of this machine are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffixes = "".join(path.suffixes)
    stem = path.name.removesuffix(suffixes)
    own = f".{stem}.{_machine()}-"
    for name in _partial_names(path.parent):
        of_path = name.startswith(own) and name.endswith(f"{PARTIAL_SUFFIX}{suffixes}")
        if of_path and not _alive(name.removeprefix(own).split(".")[0]):
            path.with_name(name).unlink(missing_ok=True)
    partial = path.with_name(f".{stem}.{_machine()}-{os.getpid()}-{next(_numbers)}{PARTIAL_SUFFIX}{suffixes}")
    try:
        yield partial
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


_MANY, _SECONDS = 1_000, 10.0
_looked_at: dict[str, tuple[float, list[str]]] = {}


def _partial_names(folder: Path) -> list[str]:
    """Temporary files of this machine in a folder. A folder of more than `_MANY` files is scanned at most every
    `_SECONDS`: with ten thousand units, each would scan the files of all others."""
    when, names = _looked_at.get(str(folder), (-_SECONDS, []))
    if time.monotonic() - when < _SECONDS:
        return names
    machine, count, names = f".{_machine()}-", 0, []
    with os.scandir(folder) as entries:
        for entry in entries:
            count += 1
            if entry.name.startswith(".") and machine in entry.name and PARTIAL_SUFFIX in entry.name:
                names.append(entry.name)
    if count > _MANY:
        _looked_at[str(folder)] = time.monotonic(), names
    return names


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk: a rename in it survives a crash of the machine."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def partial_files(folder: Path) -> Iterator[Path]:
    """Temporary files of `atomic_path` below a folder, regardless of which process created them."""
    for path in folder.rglob(f".*{PARTIAL_SUFFIX}*"):
        if path.is_file() and re.fullmatch(r"\..+\.[0-9a-f]{8}-[0-9]+-[0-9]+\.partial.*", path.name):
            yield path


@functools.cache
def _machine() -> str:
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _alive(owner: str) -> bool:
    number = owner.split("-")[0]
    if not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def process_folder(parent: Path) -> Path:
    """Name of a folder below `parent` for this process alone. Removes leftovers of an earlier owner of the name and
    folders of dead processes of this machine. Creates nothing."""
    own = parent / f"{_machine()}-{os.getpid()}"
    shutil.rmtree(own, ignore_errors=True)
    for left in parent.glob(f"{_machine()}-*"):
        if not _alive(left.name.removeprefix(f"{_machine()}-")):
            shutil.rmtree(left, ignore_errors=True)
    return own


@contextlib.contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A folder below `parent` for this process alone, removed at the end, as are those of killed processes."""
    own = process_folder(parent)
    own.mkdir(parents=True)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has its own in it
            parent.rmdir()


def write_whole(descriptor: int, data: bytes) -> None:
    """Writes all bytes to an open file: a nearly full disk accepts only part of them per call.

    Raises:
        OSError: there is no room for the rest; a part may be written.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically; NaN and infinities are refused (ValueError), since JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> JsonValue:
    """Reads a JSON file; raises InputError that names the file when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not valid JSON ({error})", file=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder, not a file", file=path) from error


def write_jsonl_zst(path: Path, rows: Iterable[JsonObject], level: int = 6) -> int:
    """Writes rows as zstd-compressed JSON lines, atomically and with the same bytes for the same rows.

    Returns:
        The number of rows written.
    """
    count = 0
    with atomic_path(path) as partial, open(partial, "wb") as raw:
        with zstandard.ZstdCompressor(level=level).stream_writer(raw, closefd=False) as compressed:
            for row in rows:
                compressed.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                count += 1
    return count


def open_lines(path: Path) -> IO[bytes]:
    """Opens a plain, .gz, or .zst file for reading lines of bytes."""
    name = path.name
    if name.endswith(".zst"):
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), read_across_frames=True))
    if name.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


def read_jsonl_zst(path: Path) -> Iterator[JsonObject]:
    """Reads rows that `write_jsonl_zst` wrote (for files of a run folder, which are assumed to be complete)."""
    with open_lines(path) as lines:
        for line in lines:
            yield json.loads(line)


def sha256(path: Path, at_most: int | None = None) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: the file.
        at_most: maximum number of bytes to read: a file that is still being written may keep growing.
    """
    return sha256_between(path, 0, sys.maxsize if at_most is None else at_most).hexdigest()


LARGE = 64 << 30
"""Size in bytes above which an output's digest is computed in pieces, on all cores."""

PIECE = 1 << 30


def describe(path: Path, in_pieces: bool = False) -> JsonObject:
    """Reads a file and returns its entry for `matches`: `sha256` in hexadecimal, `size` in bytes, `mtime_ns`. The
    digest covers at most `size` bytes, even if the file is growing.

    Args:
        path: the file.
        in_pieces: whether `sha256` of a large file may be that of its pieces (`sha256_of_pieces`); the entry then holds
            `piece`, the piece size in bytes.
    """
    stat = path.stat()
    entry = {"sha256": "", "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if in_pieces and stat.st_size > LARGE:
        entry["piece"] = PIECE
    return {**entry, "sha256": _digest_as(entry, path)}


def _digest_as(entry: JsonObject, path: Path) -> str:
    """The digest of a file's first `size` bytes, of the kind that its entry holds."""
    if "piece" in entry:
        return sha256_of_pieces(path, entry["size"], entry["piece"])
    return sha256(path, entry["size"])


def matches(path: Path, entry: JsonObject) -> bool:
    """Whether a file matches its entry; the content is read only if the modification time differs."""
    return mismatch(path, entry) is None


def mismatch(
    path: Path, entry: JsonObject, read_all: bool = False, times: dict[Path, int] | None = None
) -> tuple[str, bool] | None:
    """Describes how a file differs from its entry, and whether it is missing; None if it does not differ.

    Args:
        path: the file.
        entry: returned by `describe`.
        read_all: read the content even if the modification time is unchanged.
        times: receives the modification time of a file that was read and found unchanged.
    """
    try:
        stat = path.stat()
        if not path.is_file():
            return "is no longer a regular file", False
        if stat.st_size != entry["size"]:
            return f"has {stat.st_size:,} bytes, but had {entry['size']:,} when it was written", False
        if read_all or stat.st_mtime_ns != entry["mtime_ns"]:
            found = _digest_as(entry, path)
            if found != entry["sha256"]:
                return f"has the digest {found[:12]}, but had {entry['sha256'][:12]} when it was written", False
            if times is not None:
                times[path] = stat.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return "is missing", True
    except OSError as error:
        return f"cannot be read ({error.strerror})", False
    return None


def digest(value: object) -> str:
    """A digest of a JSON-able value, independent of the order of its keys; 32 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def home_expanded(path: str) -> str:
    """A path with `~` expanded; unchanged if there is no home folder (an unknown user, a container without users)."""
    return os.path.expanduser(path)  # noqa: PTH111  Path's own raises RuntimeError


def is_utf8(path: Path) -> bool:
    """Whether a path can be written into a file in UTF-8, as manifests and recipes are: names may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def free_bytes(path: Path) -> int:
    """Free space on the file system where `path` is or will be."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
