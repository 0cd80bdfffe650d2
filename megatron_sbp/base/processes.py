"""Processes of our own: they find the package, and do not outlive the one that started them."""

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
_BECAME = "SBP_PYTHON"
"""Environment variable of a process that has changed its interpreter, with that interpreter."""

_LONGEST = 70
"""Bytes of TMPDIR: multiprocessing puts 32 behind it, /pymp-XXXXXXXX/listener-XXXXXXXX."""

# Loaded once, here: a process that was just forked from one with threads must not call dlopen.
_prctl: Callable[..., int] | None = None
with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl
    _prctl = ctypes.CDLL(None).prctl


def python_path() -> str:
    """PYTHONPATH for a process that must import this very package, installed or not."""
    package = str(Path(megatron_sbp.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


def path_elsewhere() -> str | None:
    """PYTHONPATH for an interpreter of another environment, or in a container: that of a clone, which has nothing else
    in it. None for an installed package: its site-packages would hide what the other environment has."""
    root = Path(megatron_sbp.__file__).resolve().parents[1]
    return python_path() if (root / "setup.py").exists() else None


def with_path(environment: dict[str, str], path: str | None) -> dict[str, str]:
    """Environment variables with this PYTHONPATH, or without any."""
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    return others if path is None else {**others, "PYTHONPATH": path}


def become(python: Path, words: list[str]) -> None:
    """Continues as `python WORDS` in this very process, unless it is that already.

    Args:
        python: interpreter of another environment, or a program that ends by starting one.
        words: of its command line.

    Raises:
        InputError: it cannot be started.
    """
    if os.environ.get(_BECAME) == str(python):
        return
    environment = with_path({**os.environ, _BECAME: str(python)}, path_elsewhere())
    sys.stdout.flush()
    try:
        os.execve(python, [str(python), *words], environment)
    except OSError as error:
        raise InputError(f"cannot be started ({error.strerror})", file=python) from error


def die_with_parent(parent: int | None = None) -> None:
    """Asks Linux to kill this process when its parent dies, even by SIGKILL. Runs in the child.

    Without it, the children of a killed run would keep writing beside a new run.

    Args:
        parent: process id of the parent, as the parent knows it. A parent that died before this call is noticed by
            it; without it, such a child lives on.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def short_socket_paths() -> None:
    """Lets multiprocessing have its sockets in /tmp where TMPDIR leaves no room in the path of a socket (108 bytes), as
    Python 3.14 does: queues, loader workers, and checkpoint writers could not start."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST:
        return
    former, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        with contextlib.suppress(OSError):
            multiprocessing.util.get_temp_dir()  # this process and those that it starts keep what it makes
    finally:
        tempfile.tempdir = former


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A free TCP port that nobody else is given while the block runs, although nobody listens on it yet.

    The socket is bound with SO_REUSEADDR and does not listen: a server that sets the same option (torch's TCPStore
    does) can bind the port, and the kernel does not hand it out as an arbitrary free port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", 0))
        yield holder.getsockname()[1]
