"""Processes that do not outlive their parent, and ports that stay free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

import megatron_sbp
from megatron_sbp.base.processes import die_with_parent, held_port, path_elsewhere, with_path


def test_a_child_dies_with_its_parent():
    script = (
        "import os, subprocess, time\n"
        "from functools import partial\n"
        "from megatron_sbp.base.processes import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=partial(die_with_parent, os.getpid()))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    child.wait(timeout=30)


def test_a_child_whose_parent_is_gone_already_dies_at_once():
    gone = subprocess.Popen(["true"])
    gone.wait()
    child = os.fork()
    if child == 0:
        die_with_parent(gone.pid)
        time.sleep(60)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_held_port_can_be_served_and_is_given_to_nobody_else():
    with held_port() as port:
        others = [socket.socket() for _ in range(200)]
        for other in others:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("", 0))
        assert port not in {other.getsockname()[1] for other in others}
        for other in others:
            other.close()
        with socket.socket() as plain, pytest.raises(OSError):
            plain.bind(("", port))
        with socket.create_server(("", port)):  # sets SO_REUSEADDR, as torch's TCPStore does
            socket.create_connection(("127.0.0.1", port)).close()


def test_another_environment_sees_a_clone_and_no_site_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    package = tmp_path / "megatron_sbp" / "__init__.py"
    monkeypatch.setattr(megatron_sbp, "__file__", str(package))
    assert path_elsewhere() is None  # installed: torch may be beside it
    (tmp_path / "setup.py").touch()
    assert path_elsewhere() == f"{tmp_path}:/mine"
    assert with_path({"A": "1", "PYTHONPATH": "/x"}, None) == {"A": "1"}
    assert with_path({"A": "1", "PYTHONPATH": "/x"}, "/y") == {"A": "1", "PYTHONPATH": "/y"}


MANAGED = """
import multiprocessing.managers
from megatron_sbp.base.processes import short_socket_paths

short_socket_paths()
with multiprocessing.managers.SyncManager(ctx=multiprocessing.get_context("fork")) as manager:
    print(manager.Queue().qsize())
"""


def test_a_long_temporary_folder(tmp_path):
    """No process could start another one with a queue."""
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    words = [sys.executable, "-c", MANAGED]
    done = subprocess.run(words, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
