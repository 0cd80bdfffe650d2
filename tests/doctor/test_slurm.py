"""Slurm's clients: not there, or there without a controller."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from megatron_sbp.doctor.slurm import check_slurm
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


@pytest.fixture
def no_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)


def test_no_clients(tmp_path, monkeypatch, no_job):
    monkeypatch.setenv("PATH", str(tmp_path))
    (alone,) = check_slurm(Subject())
    assert alone.status == "ok" and "sbp run" in alone.text
    (submitted,) = check_slurm(Subject(Run.of(load_recipe(PAPER))))
    assert submitted.status == "warn"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (job,) = check_slurm(Subject())
    assert job.status == "fail" and "MASTER_ADDR" in job.remedy


@pytest.mark.skipif(shutil.which("scontrol") is None, reason="no Slurm here")
def test_clients_without_a_controller(tmp_path, monkeypatch, no_job):
    (tmp_path / "slurm.conf").write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    (alone,) = check_slurm(Subject())
    assert alone.status == "warn" and "scontrol ping" in alone.text
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (job,) = check_slurm(Subject())
    assert job.status == "fail" and "controller" in job.remedy
