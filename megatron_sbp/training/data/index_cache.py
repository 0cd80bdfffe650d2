"""Cache of large indices, computed once and memory-mapped by every rank: files in a training run's folder.

    models/NAME/cache/real-0003-1f0c....index     arrays of one index, under a digest of everything that it follows from

One process writes a file under a temporary name and renames it while the others wait for a lock: it is complete or
absent, even after a kill. Every process that opens it checks its SHA-256; a file that is damaged or has other inputs is
rebuilt. Its pages are in the page cache, once per node.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject

Arrays = dict[str, np.ndarray]
"""One-dimensional arrays by name."""

VERSION = 1
"""Part of every identity: increase it when any builder's result for the same identity changes."""

_MAGIC = b"SBPINDEX"
_HEADER = struct.Struct("<8s32sQ")
"""Magic, SHA-256 of everything after the 48-byte header, length of the description in JSON."""
_ALIGNMENT = 64


class IndexCache:
    """Arrays by name and identity.

    Args:
        folder: location of the files; many nodes may share it, and it may be removed when no process reads from it.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, name: str, identity: JsonObject, build: Callable[[], Arrays]) -> Arrays:
        """The arrays of an identity, mapped read-only; computed by `build` if no process has done so.

        Args:
            name: prefix of the file's name.
            identity: everything that determines the arrays, JSON-serializable.
            build: computes the arrays; a pure function of the identity.

        Raises:
            InputError: the folder cannot be written to.
        """
        path, pause = self.path(name, identity), 0.05
        while True:
            arrays = _open(path)
            if arrays is not None:
                return arrays
            with self._lock(path) as mine:
                if mine:
                    arrays = _open(path)  # another process may have written it meanwhile
                    if arrays is None:
                        _write(path, build())
                        arrays = _open(path)
                        assert arrays is not None, path
                    return arrays
            time.sleep(pause)
            pause = min(2.0, 1.5 * pause)

    def prepare(self, name: str, identity: JsonObject, build: Callable[[], Arrays]) -> threading.Thread | None:
        """Starts computing arrays for later use in a thread, unless they exist or are being computed."""
        path = self.path(name, identity)
        if path.exists():
            return None

        def work() -> None:
            # An error here recurs, and is reported, where the arrays are needed.
            with contextlib.suppress(OSError, InputError), self._lock(path) as mine:
                if mine and not path.exists():
                    _write(path, build())

        thread = threading.Thread(target=work, name=f"prepare {name}", daemon=True)
        thread.start()
        return thread

    def discard(self, name: str) -> None:
        """Removes the files under a name, for all identities. Processes that have one open can still read it."""
        escaped = glob.escape(name)
        for pattern in (f"{escaped}-*.index", f".{escaped}-*.partial", f".{escaped}-*.lock"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def path(self, name: str, identity: JsonObject) -> Path:
        """The file for arrays of that identity."""
        return self.folder / f"{name}-{files.digest({'version': VERSION, **identity})}.index"

    @contextlib.contextmanager
    def _lock(self, path: Path) -> Iterator[bool]:
        """Whether this process may write `path`; does not wait.

        Without file locks, every process may: the arrays are then computed several times, with the same result.
        """
        lock = path.with_name(f".{path.stem}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise InputError(f"the index of a dataset cannot be written ({error.strerror})", file=path) from error
        with open(lock, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Left by killed processes of this machine: locks may be local to it (Lustre's localflock).
                for left in self.folder.glob(f".{glob.escape(f'{path.stem}.{socket.gethostname()}')}.*.partial"):
                    left.unlink(missing_ok=True)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass
            yield True


def _write(path: Path, arrays: Arrays) -> None:
    """Writes a file atomically."""
    described, offset = {}, 0
    for name, array in arrays.items():
        described[name] = [array.dtype.str, len(array), offset]
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    description = json.dumps({"name": path.name, "bytes": offset, "arrays": described}).encode()
    description += b" " * (-(_HEADER.size + len(description)) % _ALIGNMENT)
    partial = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}.partial")
    started = time.monotonic()
    try:
        with open(partial, "wb+") as file:
            sha = hashlib.sha256(description)
            file.write(_HEADER.pack(_MAGIC, bytes(32), len(description)) + description)
            for array in arrays.values():
                content = memoryview(np.ascontiguousarray(array)).cast("B") if len(array) else memoryview(b"")
                padding = bytes(-array.nbytes % _ALIGNMENT)
                for part in (content, padding):
                    sha.update(part)
                    file.write(part)
            file.seek(0)
            file.write(_HEADER.pack(_MAGIC, sha.digest(), len(description)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"the index of a dataset cannot be written, it has {offset:,} bytes ({error.strerror})", file=path
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    if offset > 1 << 28:
        say(f"{path.name}: {offset:,} bytes written in {time.monotonic() - started:.0f} s")


def _open(path: Path) -> Arrays | None:
    """The arrays of a file; None if it is missing, damaged, or belongs to another name."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # an empty file cannot be mapped
        return None
    if len(mapped) < _HEADER.size:
        return None
    magic, sha, length = _HEADER.unpack_from(mapped)
    if magic != _MAGIC or hashlib.sha256(memoryview(mapped)[_HEADER.size :]).digest() != sha:
        return None
    begin = _HEADER.size + length
    description = json.loads(mapped[_HEADER.size : begin])
    if description["name"] != path.name:
        return None
    return {
        name: np.frombuffer(mapped, np.dtype(kind), count, begin + offset)
        for name, (kind, count, offset) in description["arrays"].items()
    }
