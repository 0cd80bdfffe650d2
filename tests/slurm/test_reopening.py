"""Too little text is left after the filters, on a real Slurm: more is generated, while what depends on it waits."""

from __future__ import annotations

import re
import shutil

import pytest
from support.slurm_array import Array
from support.slurm_cluster import client
from support.synthesis_run import run_of
from support.trained_run import MARK

from megatron_sbp.base import files
from megatron_sbp.executor import slurm, slurm_queue
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.extending import needed_synthetic_tokens
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

GRAPH: list[Stage] = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage(), TokenizeSyntheticStage()]
SHORT = (
    "synthesis.tokens=900", "synthesis.margin=1", "synthesis.tokens_per_generation=80", "filter.unfinished=keep",
    "filter.max_repetition=1", "filter.max_copying=1", "filter.min_tokens=1",
)  # fmt: skip
"""A fraction of the generations that 900 tokens take."""


@pytest.fixture
def local(make_run) -> Run:
    """What `sbp run` makes in two rounds."""
    run = make_run("local", *SHORT)
    for _ in range(2):
        for stage in GRAPH[:-1]:
            assert StageRunner(run, stage, GRAPH).execute()
        FilterStage().reopens(run)
    assert StageRunner(run, GRAPH[-1], GRAPH).execute()
    return run


def test_jobs_are_submitted_for_more_generations(slurm, local, prepared, tmp_path, monkeypatch):
    """`slurm` is the cluster; only the job of `tokenize-synthetic` is there from the beginning to the end."""
    shutil.copytree(prepared, tmp_path / "copy")
    words = ["slurm.partition=cpu", "slurm.cpu_partition=cpu", "slurm.cpus_per_task=1", "slurm.array_size=3"]
    run = run_of(tmp_path / "copy", *SHORT, *words)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, str(run.root))
    first = {job.stage: job.id for job in submit(run)}
    assert list(first) == [stage.name for stage in GRAPH]
    Array(run, "tokenize-synthetic").until(lambda: not slurm_queue.live_jobs(run), "the end of all jobs")

    last = {job.stage: job.id for job in slurm_queue.jobs_of(run)}
    assert {name for name in first if first[name] == last[name]} == {"tokenize-synthetic"}
    shown = client("scontrol", "show", "job", last["tokenize-synthetic"])
    assert set(re.findall(r"JobState=(\w+)", shown)) == {"COMPLETED"}
    audit = files.read_json(run.audit_tokens("synthetic_audit"))
    assert audit["tokens"] >= needed_synthetic_tokens(run.recipe)
    log = "".join(file.read_text() for file in run.job_logs.glob("*-filter-*.out"))
    assert log.count("more generations are planned") == 1
    assert f"tokenize-synthetic: job {last['tokenize-synthetic']} waits for {last['filter']} now" in log
    for suffix in (".bin", ".idx"):
        one, other = (each.tokens("synthetic").with_suffix(suffix).read_bytes() for each in (run, local))
        assert one == other
    assert submit(run) == []


def submit(run: Run) -> list[slurm_queue.Job]:
    return slurm.submit(run, run.recipe.source, [], GRAPH)
