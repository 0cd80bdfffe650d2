"""When a job that failed is tried again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base.errors import Fault
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.retry import FAULT, RETRY, at_unit, status_after, unexpected


@pytest.fixture
def job(tmp_path) -> dict[str, str]:
    return {
        "SBP_FAULTS": str(tmp_path / "faults"),
        "SLURM_JOB_ID": "7",
        "SBP_MAX_RETRIES": "2",
        "SLURMD_NODENAME": "n1",
    }


def fault(cause: str, step: int) -> Fault:
    return Fault(f"{cause}\nthe end of the log", progress=f"checkpoint {step}")


def test_outside_of_a_job_nothing_is_tried_again(job, tmp_path):
    for name in ("SBP_FAULTS", "SLURM_JOB_ID"):
        other = JobEnvironment.of({key: value for key, value in job.items() if key != name})
        assert status_after(fault("x", 1), other) == FAULT
    assert not (tmp_path / "faults").exists()


def test_a_counted_number_of_times(job, capsys):
    found = [status_after(fault(f"rank {n} was killed", 10 * n), JobEnvironment.of(job)) for n in range(4)]
    assert found == [RETRY, RETRY, FAULT, FAULT]
    said = capsys.readouterr().err
    assert "job 7: will be retried (retry 1 of at most 2)" in said and "job 7: failed 3 times; not retried" in said
    other = {**job, "SLURM_JOB_ID": "8"}
    assert status_after(fault("rank 0 was killed", 0), JobEnvironment.of(other)) == RETRY
    rows = [json.loads(line) for line in (Path(job["SBP_FAULTS"]) / "7.jsonl").read_text().splitlines()]
    assert [row["cause"] for row in rows] == [f"rank {n} was killed" for n in range(4)]
    assert {row["node"] for row in rows} == {"n1"} and rows[2]["progress"] == "checkpoint 20"


def test_the_node_is_that_of_the_rank_where_it_is_known(job):
    status_after(Fault("rank 9 was killed", node="n7"), JobEnvironment.of(job))
    assert [row["node"] for row in read_rows(Path(job["SBP_FAULTS"]) / "7.jsonl")] == ["n7"]


def test_an_unknown_node_is_not_the_reporting_one(job):
    status_after(Fault("rank 0 timed out: another rank hangs", node=None), JobEnvironment.of(job))
    assert [row["node"] for row in read_rows(Path(job["SBP_FAULTS"]) / "7.jsonl")] == [""]


def test_the_same_fault_without_progress_is_a_crash_loop(job, capsys):
    job["SBP_MAX_RETRIES"] = "9"
    assert status_after(fault("its DataLoader worker (pid 4711) was killed", 5), JobEnvironment.of(job)) == RETRY
    saved = fault("its DataLoader worker (pid 12) was killed", 8)
    assert status_after(saved, JobEnvironment.of(job)) == RETRY
    assert status_after(fault("CUDA error", 8), JobEnvironment.of(job)) == RETRY  # another fault
    assert status_after(fault("CUDA error", 8), JobEnvironment.of(job)) == FAULT
    assert "the same fault as last time, with nothing saved since; not retried" in capsys.readouterr().err


def test_never_where_the_recipe_says_so_but_it_is_written_down(job):
    job["SBP_MAX_RETRIES"] = "0"
    assert status_after(fault("x", 1), JobEnvironment.of(job)) == FAULT
    assert (Path(job["SBP_FAULTS"]) / "7.jsonl").exists()


@pytest.mark.parametrize("text", ["[", "1\n", "\xff"])
def test_a_damaged_list_of_faults_is_no_obstacle(job, text):
    file = Path(job["SBP_FAULTS"]) / "7.jsonl"
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    assert status_after(fault("x", 1), JobEnvironment.of(job)) == RETRY


def test_the_task_of_an_array_has_a_file_of_its_own(job):
    of_task = {**job, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "9"}
    assert status_after(fault("x", 1), JobEnvironment.of(of_task)) == RETRY
    assert [file.name for file in Path(job["SBP_FAULTS"]).iterdir()] == ["7_3.jsonl"]


def test_the_same_fault_in_another_unit_is_no_crash_loop(job):
    def crash(place: str) -> int:
        error = RuntimeError("CUDA error: an illegal memory access\nCompile with ...")
        at_unit(error, place)
        return status_after(unexpected(error), JobEnvironment.of(job))

    job["SBP_MAX_RETRIES"] = "9"
    assert [crash("unit 00001"), crash("unit 00002"), crash("unit 00002")] == [RETRY, RETRY, FAULT]
    rows = read_rows(Path(job["SBP_FAULTS"]) / "7.jsonl")
    assert [row["progress"] for row in rows] == ["unit 00001", "unit 00002", "unit 00002"]
    assert rows[0]["cause"] == "RuntimeError: CUDA error: an illegal memory access"


def test_a_fault_that_says_how_far_it_was_keeps_that():
    found = Fault("x", progress="checkpoint 5")
    at_unit(found, "unit all")
    assert found.progress == "checkpoint 5"
