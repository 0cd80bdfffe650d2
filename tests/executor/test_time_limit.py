"""A job that uses up time limits and saves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import stage_toys as toys

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.time_limit import check_progress, saved
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "words.txt").write_text("one")
    return toys.make_run(tmp_path)


@pytest.fixture
def job(tmp_path) -> dict[str, str]:
    (tmp_path / "faults").mkdir()
    return {
        "SBP_FAULTS": str(tmp_path / "faults"),
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": "1",
        "SLURM_JOB_START_TIME": "1000",
        "SLURM_JOB_END_TIME": "15400",
    }


def start(run: Run, job: dict[str, str], near_limit: bool = True) -> None:
    check_progress(run, by_name(toys.graph(), "words"), JobEnvironment.of(job))
    if near_limit:
        with open(Path(job["SBP_FAULTS"]) / "7.limits", "a") as file:
            file.write('{"near_limit": true}\n')


def save(run: Run, text: str) -> None:
    file = run.root / toys.Words().owns(run)[0] / "00000.txt"
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(text)


def test_two_limits_in_vain_are_enough(run, job):
    start(run, job)
    start(run, job)
    with pytest.raises(InputError, match=r"job 7 used its time limit of 4h 00m 2 times without saving anything: words"):
        start(run, job)


def test_what_is_saved_counts_and_what_is_being_written_does_not(run, job):
    for number in range(4):
        save(run, "x" * number)
        start(run, job)
    file = run.root / toys.Words().owns(run)[0] / ".00001.host-5-1.partial.txt"
    file.write_text("half")
    start(run, job)
    file.write_text("half of it")
    with pytest.raises(InputError, match="without saving anything"):
        start(run, job)


def test_work_beside_finished_outputs_counts(run):
    words = by_name(toys.graph(), "words")
    before = saved(run, words)
    file = run.work_folder("words", "1234") / toys.Words().owns(run)[0] / "00000.txt"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    assert saved(run, words) != before


def test_preemptions_and_first_starts_do_not_count(run, job):
    start(run, {**job, "SLURM_RESTART_COUNT": "0"})
    for _ in range(5):
        start(run, job, near_limit=False)
    start(run, job)
    start(run, job, near_limit=False)
    start(run, {name: value for name, value in job.items() if name != "SBP_FAULTS"}, near_limit=False)


def test_a_longer_limit_is_a_new_beginning(run, job):
    start(run, job)
    start(run, job)
    longer = {**job, "SLURM_JOB_END_TIME": "20000"}
    start(run, longer)
    start(run, longer)
    with pytest.raises(InputError):
        start(run, job)


def test_slurm_that_does_not_tell_the_limit(run, job):
    job = {name: value for name, value in job.items() if not name.endswith("_TIME")}
    start(run, job)
    start(run, job)
    with pytest.raises(InputError, match="job 7 used its time limit 2 times"):
        start(run, job)


@pytest.mark.parametrize("replicate", ["", ".2"])
def test_a_training_has_saved_what_is_in_complete_checkpoints(tmp_path, replicate):
    run = Run.of(load_recipe(TINY, [f"run_folder={tmp_path}/run", "replicates=2"]))
    train = by_name(all_stages(run.recipe), f"train-sbp{replicate}")
    [model] = [run.root / pattern for pattern in train.owns(run)]
    before = saved(run, train)
    (model / "iter_0000005").mkdir(parents=True)
    (model / "metrics.jsonl").write_text("{}\n")
    (model / "iter_0000005" / "__0_0.distcp").write_text("half")
    assert saved(run, train) == before
    (model / "iter_0000005" / "metadata.json").write_text("{}")
    assert saved(run, train) != before
