"""What is noted about a job."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.job_rows import append_row, file_of_job, read_rows


def test_jobs_and_tasks_have_files_of_their_own():
    job = {"SBP_FAULTS": "/run/faults", "SLURM_JOB_ID": "9"}
    task = {**job, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert file_of_job(JobEnvironment.of(job), ".jsonl") == Path("/run/faults/9.jsonl")
    assert file_of_job(JobEnvironment.of(task), ".limits") == Path("/run/faults/7_3.limits")
    for name in job:
        other = {key: value for key, value in job.items() if key != name}
        assert file_of_job(JobEnvironment.of(other), ".jsonl") is None


def test_rows_are_added_and_damaged_ones_left_out(tmp_path):
    file = tmp_path / "faults" / "9.jsonl"
    assert read_rows(file) == []
    append_row(file, {"a": 1})
    with open(file, "ab") as damaged:
        damaged.write(b'{"b": \n7\n\xff\n')
    append_row(file, {"c": 3})
    assert read_rows(file) == [{"a": 1}, {"c": 3}]
    append_row(tmp_path / "faults" / "9.jsonl" / "beside", {"d": 4})  # as with a full disk: no error
