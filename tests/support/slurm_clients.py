"""Slurm's clients by small programs on PATH that answer as Slurm's do and note what they were asked; or no Slurm."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_sbp.executor import slurm_queue
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


@pytest.fixture
def clients(tmp_path, monkeypatch) -> Callable[..., None]:
    """Puts a client on PATH, which holds nothing else; `asked` reads what the clients were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    slurm_queue.configuration.cache_clear()

    def put(name: str, output: str = "", error: str = "", status: int = 0, body: str = "") -> None:
        (folder / name).write_text(
            f"#!{sys.executable} -S\nimport json, os, sys\n"
            f"with open({str(tmp_path / 'asked')!r}, 'a') as file:\n"
            f"    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n"
            f"{body}\nsys.stdout.write({output!r})\nsys.stderr.write({error!r})\nsys.exit({status})\n"
        )
        (folder / name).chmod(0o755)
        slurm_queue.configuration.cache_clear()

    return put


def asked(tmp_path: Path) -> list[list[str]]:
    """The words of every call of a client, in order."""
    return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]


@pytest.fixture
def no_slurm(monkeypatch, tmp_path):
    """No Slurm client is found."""
    (tmp_path / "bin").mkdir()
    for program in ("bash", "mkdir", "cat"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    slurm_queue.configuration.cache_clear()


class Kind(Stage):
    """A stage that is only looked at."""

    def __init__(self, name: str, device: str, sharded: bool, *reads: str):
        self.name, self.title, self.device, self.sharded, self._reads = name, name, device, sharded, reads

    def reads(self, run: Run):
        return dict.fromkeys(self._reads, ("*",))


def commands(text: str) -> dict[str, list[str]]:
    """Words of every sbatch command in what a dry run prints, by variable."""
    lines = [line.partition("=$(") for line in text.splitlines() if "=$(sbatch" in line]
    return {name: shlex.split(command.removesuffix(")")) for name, _, command in lines}
