"""Which nodes a job avoids when it goes back into the queue. Slurm's clients are stand-ins, real in tests/slurm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.slurm_clients import asked

from megatron_sbp.executor.avoided_nodes import avoided
from megatron_sbp.executor.job_rows import job_of

JOB = "JobId=7 Partition=gpu Account=(null) QOS=normal Features=h100 TresPerNode=gres/gpu:8 ExcNodeList={own}"


@pytest.fixture
def faults(tmp_path) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    rows = [
        {"node": "n1", "cause": "rank 3 was killed"},
        {"node": "n1", "cause": "CUDA error"},
        {"node": "n2", "cause": "x"},
    ]
    (folder / "7.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def job(tmp_path) -> dict[str, str]:
    return {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "4", "PATH": str(tmp_path / "bin")}


def test_nodes_with_faults_where_the_others_are_enough(clients, faults, job, tmp_path):
    clients("scontrol", JOB.format(own="(null)"))
    clients("sbatch")
    assert avoided(faults, 2, job) == "n1"
    [_, question] = asked(tmp_path)
    assert question[:2] == ["sbatch", "--test-only"] and "--exclude=n1" in question and "--nodes=4" in question
    assert {"--partition=gpu", "--constraint=h100", "--gpus-per-node=8", "--qos=normal"} <= set(question)
    assert avoided(faults, 3, job) == avoided(faults, 0, job) == ""


def test_not_where_the_others_would_not_be_enough(clients, faults, job):
    clients("scontrol", JOB.format(own="(null)"))
    clients("sbatch", error="Requested node configuration is not available", status=1)
    assert avoided(faults, 2, job) == ""


def test_not_where_slurm_cannot_be_asked(clients, faults, job):
    assert avoided(faults, 2, job) == ""


def test_what_the_job_excluded_before_stays(clients, faults, job):
    body = "if 'hostnames' in sys.argv:\n    print('n8\\nn9')\n    sys.exit()"
    clients("scontrol", JOB.format(own="n[8-9]"), body=body)
    clients("sbatch")
    assert avoided(faults, 2, job) == "n[8-9],n1"
    clients("scontrol", JOB.format(own="n1"), body=body.replace("n8", "n1"))
    assert avoided(faults, 2, job) == "", "it is excluded already"


def test_a_task_of_an_array_is_not_the_array():
    environment = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "4"}
    assert job_of(environment) == "12_4" and job_of({"SLURM_JOB_ID": "12"}) == "12"
