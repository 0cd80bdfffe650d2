"""Child processes: they can import the package, and do not outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing.util
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import megatron_sbp
from megatron_sbp.base.errors import InputError

_PR_SET_PDEATHSIG = 1
_LONGEST = 70
"""Maximum length of TMPDIR in bytes: multiprocessing appends 32, /pymp-XXXXXXXX/listener-XXXXXXXX."""

# Loaded once, here: a process just forked from one with threads must not call dlopen.
_prctl: Callable[..., int] | None = None
with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl
    _prctl = ctypes.CDLL(None).prctl


def python_path() -> str:
    """PYTHONPATH for a process that must import this same package, installed or not."""
    package = str(Path(megatron_sbp.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


def module_words(module: str, python: str | None = None) -> list[str]:
    """The words that run a module of this package, for a process that has `python_path`.

    -P: otherwise a file of the current folder called json.py or datasets.py would be imported instead of the module
    that is meant, and in an older clone of this repository the package of the clone.

    Args:
        module: its name.
        python: the interpreter; None means that of this process.
    """
    return [python or sys.executable, "-P", "-m", module]


def path_elsewhere() -> str | None:
    """PYTHONPATH for an interpreter of another environment or in a container: the folder of a clone. None for an
    installed package, whose site-packages would shadow those of the other environment."""
    root = Path(megatron_sbp.__file__).resolve().parents[1]
    return python_path() if (root / "setup.py").exists() else None


def with_path(environment: dict[str, str], path: str | None) -> dict[str, str]:
    """Environment variables with this PYTHONPATH, or without any."""
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    return others if path is None else {**others, "PYTHONPATH": path}


def become(python: Path, words: list[str]) -> None:
    """Replaces this process with `python WORDS`.

    Args:
        python: interpreter of another environment, or a program that execs one.
        words: its arguments.

    Raises:
        InputError: it cannot be started.
    """
    sys.stdout.flush()
    try:
        os.execve(python, [str(python), *words], with_path(dict(os.environ), path_elsewhere()))
    except OSError as error:
        raise InputError(f"cannot be started ({error.strerror})", file=python) from error


def die_with_parent(parent: int | None = None) -> None:
    """Asks Linux to kill this process when its parent dies, even by SIGKILL. Runs in the child.

    Without it, the children of a killed run would keep writing while a new run writes the same files.

    Args:
        parent: process id of the parent, as the parent knows it. With it, this call also notices a parent that has
            already died.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def short_socket_paths() -> None:
    """Moves multiprocessing's sockets to /tmp if TMPDIR is too long for a socket path (108 bytes), as Python 3.14 does:
    otherwise queues, loader workers, and checkpoint writers cannot start."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST:
        return
    former, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        with contextlib.suppress(OSError):
            multiprocessing.util.get_temp_dir()  # this process and its children keep using this folder
    finally:
        tempfile.tempdir = former


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """Reserves a free TCP port while the block runs, without listening on it.

    The socket is bound with SO_REUSEADDR and does not listen: a server that sets the same option (torch's TCPStore
    does) can bind the port, and the kernel does not hand it out as an arbitrary free port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", 0))
        yield holder.getsockname()[1]
