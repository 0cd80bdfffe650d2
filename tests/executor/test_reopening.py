"""Whether a job submits stages again; that Slurm then does what it should is in tests/slurm/test_reopening.py."""

from __future__ import annotations

import json

import pytest
from support import stage_toys as toys
from support.slurm_clients import asked

from megatron_sbp.executor import slurm
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.reopening import submit_reopened
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.slurm_queue import was_submitted

JOB = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "8", "SBP_COMMAND": "our sbp"}


@pytest.fixture
def submitted(clients, tmp_path, monkeypatch):
    """A run whose stages are jobs 7, 8, and 9; the second is complete, and finds that the first has more to do."""
    (tmp_path / "words.txt").write_text("a\nbb")
    run, graph = toys.make_run(tmp_path), toys.graph()
    numbers = tmp_path / "number"
    numbers.write_text("6")
    clients(
        "sbatch",
        body=f"n = int(open({str(numbers)!r}).read()) + 1; open({str(numbers)!r}, 'w').write(str(n)); print(n)\n"
        f"json.dump(dict(os.environ), open({str(tmp_path / 'environment')!r}, 'w'))",
    )
    clients("scontrol")
    slurm.submit(run, run.recipe.source, [], graph)
    for stage in graph[:2]:
        assert StageRunner(run, stage, graph).execute()
    clients("squeue", "8_1 RUNNING None\n9_4294967294 PENDING Dependency\n")
    monkeypatch.setattr(toys.Lengths, "reopens", lambda self, run: "words")
    monkeypatch.setattr(toys.Words, "settings", lambda self, run: {"more": True})
    (tmp_path / "asked").unlink()
    return run, graph


def test_stages_are_submitted_again_and_jobs_after_them_wait(submitted, tmp_path, monkeypatch, capsys):
    run, graph = submitted
    for name, value in {**JOB, "OMP_NUM_THREADS": "3"}.items():
        monkeypatch.setenv(name, value)
    submit_reopened(run, graph, graph[1], JobEnvironment.of(JOB))
    calls = asked(tmp_path)
    assert [call[0] for call in calls if call[0] == "sbatch"] == ["sbatch"] * 2
    assert ["scontrol", "update", "JobId=9", "Dependency=afterok:11"] in calls
    assert was_submitted(run, "lengths", "11") and not was_submitted(run, "lengths", "8")
    passed = json.loads((tmp_path / "environment").read_text())
    assert passed["OMP_NUM_THREADS"] == "" and passed["SBP_COMMAND"] == "our sbp"


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "5"}])
def test_only_a_job_of_the_run_submits(submitted, tmp_path, environment):
    run, graph = submitted
    submit_reopened(run, graph, graph[1], JobEnvironment.of(environment))
    assert not (tmp_path / "asked").exists() or "sbatch" not in {call[0] for call in asked(tmp_path)}


def test_a_stage_that_has_enough_submits_nothing(submitted, tmp_path, monkeypatch):
    run, graph = submitted
    monkeypatch.setattr(toys.Lengths, "reopens", lambda self, run: None)
    submit_reopened(run, graph, graph[1], JobEnvironment.of(JOB))
    assert not (tmp_path / "asked").exists() or "sbatch" not in {call[0] for call in asked(tmp_path)}


def test_where_no_job_can_be_submitted_that_is_said(submitted, tmp_path, capsys):
    run, graph = submitted
    (tmp_path / "bin" / "sbatch").unlink()
    submit_reopened(run, graph, graph[1], JobEnvironment.of(JOB))
    assert "lengths: words has more to do, but it cannot be submitted from here" in capsys.readouterr().err
