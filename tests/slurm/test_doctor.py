"""`srun ... sbp doctor` in a real Slurm: its variables, its addresses, and one report of all nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.whole_program import environment

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def test_two_nodes_of_an_allocation(slurm, tmp_path):
    words = [sys.executable, "-m", "megatron_sbp", "doctor", str(TINY), f"run_folder={tmp_path}/run", "--json"]
    asked = ["srun", "--partition=gpu", "--nodes=2", "--ntasks-per-node=2", f"--chdir={tmp_path}"]
    variables = {**environment(), **{name: os.environ[name] for name in os.environ if name.startswith("SLURM")}}
    done = subprocess.run(
        [*asked, *words, "--timeout", "120"], env=variables, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {entry["check"]: entry for entry in json.loads(done.stdout)["checks"]}
    assert "4 ranks on 2 nodes over gloo" in found["all-reduce"]["text"]
    assert found["shared folder"]["status"] == "ok" and found["nodes"]["text"].startswith("2 nodes examined")
    assert "arrays of up to 4 tasks" in found["slurm"]["text"] or "at most 4 tasks" in found["slurm"]["text"]
