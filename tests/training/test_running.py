"""One training of a folder at a time, by the mark in it."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.running import NAME, only_training, refuse_second


def mark(folder, **changes) -> None:
    """The mark of this process, with changes."""
    with only_training(folder):
        found = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps({**found, **changes}))


@pytest.fixture
def other():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_a_living_process_is_not_joined(tmp_path, other):
    mark(tmp_path, pid=other.pid, started=psutil.Process(other.pid).create_time())
    with pytest.raises(InputError, match=rf"is being trained by process {other.pid} on "), only_training(tmp_path):
        pass
    assert json.loads((tmp_path / NAME).read_text())["pid"] == other.pid
    with pytest.raises(InputError, match=rf"is being trained by process {other.pid} on "):
        refuse_second(tmp_path)
    other.kill()
    other.wait()
    refuse_second(tmp_path)
    with only_training(tmp_path):
        pass


@pytest.mark.parametrize("changes", [{"started": 1.0}, {"host": "elsewhere"}, {"pid": 2**22 + 1}, {"pid": "x"}])
def test_a_stale_mark_is_replaced(tmp_path, other, changes):
    mark(tmp_path, **{"pid": other.pid, "started": psutil.Process(other.pid).create_time(), **changes})
    with only_training(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == psutil.Process().pid
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}'])
def test_a_damaged_mark_is_replaced(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    with only_training(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == psutil.Process().pid
