"""Verbs that show something."""

from __future__ import annotations

import sys
from pathlib import Path

from megatron_sbp import cli
from megatron_sbp.__main__ import run
from megatron_sbp.cli import show_verbs

ROOT = Path(__file__).parents[2]


def test_a_gpu_that_nobody_knows(capsys):
    recipe = ROOT / "tests" / "end_to_end" / "recipe.yaml"
    assert cli.main(["plan", str(recipe), "--gpu", "A10O"]) == 2
    assert "did you mean A10?" in capsys.readouterr().err


def test_status_is_printed_until_all_is_finished(tmp_path, monkeypatch, capsys):
    recipe = ROOT / "tests" / "end_to_end" / "recipe.yaml"
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(show_verbs.time, "sleep", sleep)
    monkeypatch.setattr(sys, "argv", ["sbp", "status", str(recipe), f"run_folder={tmp_path}/run", "--watch"])
    assert run() == 130
    assert slept == [show_verbs.WATCH_SECONDS] * 3 and capsys.readouterr().out.count(f"{tmp_path}/run, 20") == 3
