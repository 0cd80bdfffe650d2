"""Slurm's clients by small programs on PATH that answer as Slurm's do and note what they were asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def clients(tmp_path, monkeypatch) -> Callable[..., None]:
    """Puts a client on PATH, which holds nothing else; `asked` reads what the clients were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, output: str = "", error: str = "", status: int = 0, body: str = "") -> None:
        (folder / name).write_text(
            f"#!{sys.executable} -S\nimport json, os, sys\n"
            f"with open({str(tmp_path / 'asked')!r}, 'a') as file:\n"
            f"    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n"
            f"{body}\nsys.stdout.write({output!r})\nsys.stderr.write({error!r})\nsys.exit({status})\n"
        )
        (folder / name).chmod(0o755)

    return put


def asked(tmp_path: Path) -> list[list[str]]:
    """The words of every call of a client, in order."""
    return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
