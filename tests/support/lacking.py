"""What a test needs and the machine lacks: installed where that is wanted, a failure in CI, elsewhere a skip."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from megatron_sbp.base.locks import locked

_NO_NETWORK = re.compile(
    "dns error|tcp connect error|failed to lookup address|NameResolutionError|NewConnectionError|ConnectTimeoutError|"
    "Name or service not known|Temporary failure (in name resolution|resolving)|Could not resolve|Could not connect|"
    "Connection refused|Connection timed out|No route to host|Network is unreachable"
)
"""How uv, pip, and apt-get say that they reached nobody."""


def wanted(switch: str) -> bool:
    """Whether what is not there is installed: in CI, or by a variable of its own."""
    return in_ci() or os.environ.get(switch) == "1"


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


def no_network(output: str) -> bool:
    """Whether an installation failed because nothing could be reached.

    Lines of our scripts begin with "setup: ": what was tried before the last of them did not decide it.
    """
    return _NO_NETWORK.search(output.rpartition("setup: ")[2]) is not None


def lacking(reason: str, output: str = "") -> NoReturn:
    """Ends a test that cannot run. In CI it fails, unless the network is what is missing.

    Args:
        reason: what is missing, in one line.
        output: what the program said that should have installed it.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = f"{reason}: {lines[-1]}" if lines else reason
    if in_ci() and not no_network(output):
        pytest.fail("\n".join([f"CI is set, so this is no skip: {reason}", *lines[-20:]]), pytrace=False)
    pytest.skip(f"no network: {told}" if no_network(output) else told)


def installed(name: str, there: Callable[[], bool], *command: str | Path) -> None:
    """Makes something available to a test, in one process at a time, or ends the test as `lacking` does."""
    with locked(Path(tempfile.gettempdir()) / f"sbp-install-{name}.lock", f"the installation of {name}"):
        if there():
            return
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for pause in (5, 20, None):  # a package index may have a bad moment
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if not done.returncode or pause is None or no_network(done.stdout + done.stderr):
                break
            time.sleep(pause)
    if done.returncode:
        lacking(f"{name} could not be installed", done.stdout + done.stderr)


def installed_by_apt(name: str, there: Callable[[], bool], switch: str, *packages: str) -> None:
    """The same for packages of Debian, which only root installs, and only where `switch` or CI says so."""
    if there():
        return
    if not wanted(switch):
        lacking(f"{name} is not installed ({switch}=1 installs it with apt-get)")
    command = 'apt-get update -q && apt-get install -y -q --no-install-recommends "$@"'
    installed(name, there, "sh", "-c", command, "sh", *packages)
