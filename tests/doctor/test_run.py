"""`sbp doctor` as it is called: lines, JSON, exit statuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from megatron_sbp.cli import main

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def test_a_line_for_every_check_and_nothing_left(tmp_path, capsys):
    assert main(["doctor", str(TINY), f"run_folder={tmp_path}/run", "slurm.partition=null"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(ok   |warn |fail ) \w", line) for line in lines)
    assert all((" -> " in line) == (not line.startswith("ok")) for line in lines)
    for check in ("python", "torch", "embedding model", "inputs", "flock", "free inodes"):
        assert any(check in line for line in lines), check
    assert not list(tmp_path.iterdir())


def test_what_failed_is_the_status_and_in_the_json(tmp_path, capsys):
    words = ["doctor", str(TINY), f"run_folder={tmp_path}/run", f"documents.inputs=[{tmp_path}/*.jsonl]", "--json"]
    assert main(words) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] and [entry["check"] for entry in found["checks"] if entry["status"] == "fail"] == ["inputs"]


def test_a_machine_without_a_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    names = {entry["check"] for entry in json.loads(capsys.readouterr().out)["checks"]}
    assert {"python", "torch", "free bytes"} <= names and not {"inputs", "embedding model", "GPU memory"} & names


def test_a_wrong_recipe(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("nam: x")
    assert main(["doctor", str(tmp_path / "recipe.yaml")]) == 2
    assert main(["doctor", "seed=2"]) == 2
    assert capsys.readouterr().out == ""


def test_variables_of_a_launcher_that_say_half(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    assert main(["doctor"]) == 2 and "WORLD_SIZE" in capsys.readouterr().err
