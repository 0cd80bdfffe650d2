"""`submit` and its batch scripts on a real Slurm: order, arrays, ranks, failure, requeue."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import slurm_toy as toy
from support import stage_toys

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import slurm as jobs
from megatron_sbp.executor import slurm_queue
from megatron_sbp.executor.claim import claim
from megatron_sbp.executor.job_notes import notes_on
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

RECIPE = (
    stage_toys.RECIPE.replace("words.txt", "x.jsonl")
    + """
launch: {nodes: 2, ranks_per_node: 2, device: cpu}
slurm: {partition: gpu, cpu_partition: cpu, time: "00:10:00", cpus_per_task: 1, array_size: 64,
        setup: "export TOY_SETUP='set up'"}
"""
)


@pytest.fixture
def run(slurm, tmp_path, monkeypatch) -> Run:
    monkeypatch.setenv("SBP_RANK_PATIENCE", "3")
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    run = Run.of(load_recipe(recipe))
    claim(run)
    return run


def submit(run: Run, **more):
    command = shlex.join([sys.executable, toy.__file__])
    return jobs.submit(run, run.recipe.source, [], toy.graph(), command=command, **more)


def client(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=30).stdout


def states(run: Run) -> dict[str, str]:
    return {job.stage: job.state for job in slurm_queue.jobs_of(run)}


def logs(run: Run) -> str:
    return "\n".join(f"{file.name}:\n{file.read_text()}" for file in sorted((run.root / "logs/slurm").glob("*.out")))


def until(run: Run, condition, what: str, seconds: float = 300):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come: {states(run)}\n{client('squeue', '-a')}\n{logs(run)}")
        time.sleep(0.3)


def ended(run: Run) -> bool:
    found = states(run).values()
    return bool(found) and not any("RUNNING" in state or "PENDING" in state or "COMPLETING" in state for state in found)


def all_started(run: Run) -> bool:
    """Whether all ranks of the training handle signals: before, one of them would just end."""
    return all((run.root / "ranks" / f"{rank}.started").exists() for rank in range(4))


def after_requeue(run: Run, job: str) -> None:
    """Waits for the job to come back into the queue, lets it start without the usual two minutes, and for the end."""
    back_in_the_queue(run, job)
    until(run, lambda: ended(run), "the end after a requeue")


def back_in_the_queue(run: Run, job: str) -> None:
    """Waits for it, and lets the job start without the usual two minutes."""
    pending = ["PENDING BeginTime"]
    until(run, lambda: client("squeue", "-h", "-j", job, "-o", "%T %r").splitlines() == pending, "the requeue")
    time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
    client("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_graph_runs_in_order(run):
    submitted = submit(run)
    assert [job.stage for job in submitted] == ["squares", "total", "train", "report"]
    assert submitted[0].tasks == 4  # array_size 64, but the site's MaxArraySize is 5
    waiting = next(str(job) for job in slurm_queue.jobs_of(run) if job.stage == "report")
    assert f"PENDING (Dependency); waits for job {submitted[2].id} (train)" in waiting
    again = submit(run)  # all of it is in the queue
    assert again == []
    until(run, lambda: ended(run), "the end")
    assert states(run) == {
        "squares": "COMPLETED 4",
        "total": "COMPLETED",
        "train": "COMPLETED",
        "report": "COMPLETED",
    }, logs(run)
    assert (run.root / "total.txt").read_text() == str(sum(number**2 for number in range(toy.UNITS)))
    assert (run.root / "report.txt").read_text() == "4 ranks, set up\n"
    ranks = [json.loads((run.root / "ranks" / f"{rank}.json").read_text()) for rank in range(4)]
    assert [rank["RANK"] for rank in ranks] == ["0", "1", "2", "3"]
    assert [rank["LOCAL_RANK"] for rank in ranks] == ["0", "1", "0", "1"]
    assert [rank["NODE_RANK"] for rank in ranks] == ["0", "0", "1", "1"]
    assert [rank["node"] for rank in ranks] == ["node1", "node1", "node2", "node2"]
    assert {(rank["WORLD_SIZE"], rank["LOCAL_WORLD_SIZE"], rank["MASTER_ADDR"]) for rank in ranks} == {
        ("4", "2", "127.0.0.1")
    }
    assert len({rank["MASTER_PORT"] for rank in ranks}) == 1
    assert all(StageRunner(run, stage, toy.graph()).finished() for stage in toy.graph())
    assert submit(run) == []  # and now all of it is finished


def test_two_submissions_at_once_submit_a_stage_once(run):
    with ThreadPoolExecutor(2) as pool:
        submitted = [done.result() for done in [pool.submit(submit, run) for _ in range(2)]]
    assert sorted(map(len, submitted)) == [0, 4] and len(slurm_queue.jobs_of(run)) == 4
    slurm_queue.cancel(run)
    until(run, lambda: ended(run), "the end of what was canceled")


def test_failure_cancels_what_depends_on_it(run):
    (run.root / "fail").write_text("")
    submit(run)
    until(run, lambda: ended(run), "the end")
    found = states(run)
    assert "FAILED 1" in found["squares"] and "COMPLETED 3" in found["squares"]
    assert found["total"] == found["train"] == found["report"] == "CANCELLED"
    assert "was told to fail" in logs(run)
    squares = next(job for job in slurm_queue.jobs_of(run) if job.stage == "squares")
    [task] = squares.failed
    notes = "\n".join(notes_on(run, squares))
    assert re.search(rf"failed: task {task} on node[0-9]\nlogs/slurm/", notes), notes
    assert f"-{squares.id}_{task}.out ends with:" in notes
    assert "was told to fail" in notes
    # The cause removed, the same call does what is missing: one unit, and those after it.
    (run.root / "fail").unlink()
    before = {file: file.stat().st_mtime_ns for file in (run.root / "squares").iterdir()}
    assert len(before) == toy.UNITS - 1
    again = submit(run)
    assert [job.stage for job in again] == ["squares", "total", "train", "report"]
    assert again[0].tasks == 1, "a task for the missing unit only"
    until(run, lambda: ended(run), "the end")
    assert (run.root / "report.txt").exists(), logs(run)
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in before.items())


def test_canceled_and_submitted_again(run):
    submit(run)
    until(run, lambda: all_started(run), "the first start")
    canceled = slurm_queue.cancel(run)
    assert {job.stage for job in canceled} == {"train", "report"}
    until(run, lambda: ended(run), "the end of what was canceled")
    assert slurm_queue.cancel(run) == []
    assert states(run)["squares"].startswith("COMPLETED") and "CANCELLED" in states(run)["train"]
    assert [job.stage for job in submit(run)] == ["train", "report"]
    until(run, lambda: ended(run), "the end")
    assert (run.root / "report.txt").exists(), logs(run)


def test_a_controller_that_does_not_answer(run, slurm, monkeypatch):
    """Nothing hangs or is submitted twice, and the jobs go on once it answers again."""
    submit(run)
    until(run, lambda: all_started(run), "the training")
    before = [job.id for job in slurm_queue.jobs_of(run)]
    controller = int((slurm / "slurmctld.pid").read_text())
    with monkeypatch.context() as patched:
        patched.setattr(slurm_queue, "TIMEOUT", 1)
        os.kill(controller, signal.SIGSTOP)
        try:
            assert set(states(run).values()) == {"unknown (Slurm does not answer)"}
            for ask in (submit, slurm_queue.cancel):
                with pytest.raises(InputError, match="whether jobs of this run are queued or running is unknown"):
                    ask(run)
        finally:
            os.kill(controller, signal.SIGCONT)
    assert [job.id for job in slurm_queue.jobs_of(run)] == before
    until(run, lambda: ended(run), "the end")
    assert (run.root / "report.txt").exists(), logs(run)


def test_time_limit_saves_requeues_and_resumes(run):
    """What Slurm sends before the time limit is SIGUSR1 to the batch shell; here scancel sends it at once."""
    submit(run)
    until(run, lambda: all_started(run), "the first start")
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    time.sleep(0.5)
    assert "RUNNING" in client("squeue", "-h", "-j", job, "-o", "%T")
    client("scancel", "--signal=USR1", "--batch", job)

    after_requeue(run, job)
    assert states(run)["report"] == "COMPLETED", logs(run)
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    ranks = [json.loads((run.root / "ranks" / f"{rank}.json").read_text()) for rank in range(4)]
    assert all(0 < rank["begin"] < toy.STEPS for rank in ranks), ranks
    assert "back into the queue" in logs(run)


def test_a_job_whose_time_limits_save_nothing_ends(run):
    """Its unit takes longer than the limit."""
    slow = run.root / "slow"
    slow.write_text("")
    submit(run)
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "total")
    for _ in range(3):
        until(run, lambda: slow.read_text() == "began", "the unit")
        slow.write_text("")
        client("scancel", "--signal=USR1", "--batch", job)
        back_in_the_queue(run, job)
    until(run, lambda: ended(run), "the end")
    assert states(run)["total"] == "FAILED" and states(run)["train"] == "CANCELLED", states(run)
    told = r"used its time limit( of 4h 00m)? 2 times without saving anything: total needs more time"
    assert re.search(told, logs(run)), logs(run)


def test_ranks_asked_for_a_checkpoint_go_on_later(run):
    """SIGTERM to the ranks alone: their status 3 must come through, though one is slower."""
    submit(run)
    until(run, lambda: all_started(run), "the first start")
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    time.sleep(0.5)
    client("scancel", "--signal=TERM", job)

    after_requeue(run, job)
    assert states(run)["report"] == "COMPLETED", logs(run)
    assert "143" not in logs(run) and "the time limit" not in logs(run)
    ranks = [json.loads((run.root / "ranks" / f"{rank}.json").read_text()) for rank in range(4)]
    assert all(0 < rank["begin"] < toy.STEPS for rank in ranks), ranks


def test_gives_up_after_the_last_requeue(run, monkeypatch):
    run.recipe.slurm.max_requeues = 0
    submit(run)
    until(run, lambda: all_started(run), "the first start")
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    time.sleep(0.5)
    client("scancel", "--signal=USR1", "--batch", job)
    until(run, lambda: ended(run), "the end")
    assert states(run)["train"] == "FAILED" and states(run)["report"] == "CANCELLED"
    assert "giving up" in logs(run)


def test_a_fault_is_tried_again_and_what_depends_on_it_waits(run):
    (run.root / "crash").write_text("rank 1 was killed")
    submit(run)
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    back_in_the_queue(run, job)
    assert "PENDING" in states(run)["report"], states(run)
    until(run, lambda: ended(run), "the end after a retry")
    assert states(run)["train"] == states(run)["report"] == "COMPLETED", logs(run)
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    [fault] = (run.root / "logs" / "slurm" / "faults" / f"{job}.jsonl").read_text().splitlines()
    assert json.loads(fault)["cause"] == "rank 1 was killed" and json.loads(fault)["node"] == "node1"


def test_a_crash_loop_ends(run):
    (run.root / "crash").write_text("CUDA error (pid 5)\nCUDA error (pid 6)\nCUDA error (pid 7)")
    submit(run)
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    after_requeue(run, job)
    assert states(run)["train"] == "FAILED" and states(run)["report"] == "CANCELLED", logs(run)
    assert "the same fault as last time" in logs(run) and (run.root / "crash").exists()


def test_a_node_with_two_faults_does_not_get_the_job_again(run):
    run.recipe.slurm.cpu_partition = "gpu"  # has two nodes
    (run.root / "crash-total").write_text("CUDA error\nthe file system fails")
    submit(run)
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "total")
    back_in_the_queue(run, job)
    until(run, lambda: "Restarts=1" in client("scontrol", "show", "job", job), "the second try")
    back_in_the_queue(run, job)
    until(run, lambda: ended(run), "the end after two retries")
    assert states(run)["total"] == states(run)["report"] == "COMPLETED", logs(run)
    faults = (run.root / "logs" / "slurm" / "faults" / f"{job}.jsonl").read_text().splitlines()
    assert [json.loads(fault)["node"] for fault in faults] == ["node1", "node1"]
    about = client("scontrol", "show", "job", job)
    assert "Restarts=2" in about and "ExcNodeList=node1\n" in about and "BatchHost=node2" in about
    assert ", without node1" in logs(run)


def test_a_job_that_needs_both_nodes_gets_the_failing_one_again(run):
    """Else it would wait forever."""
    run.recipe.slurm.exclude_after = 1
    (run.root / "crash").write_text("rank 1 was killed")
    submit(run)
    job = next(job.id for job in slurm_queue.jobs_of(run) if job.stage == "train")
    after_requeue(run, job)
    assert states(run)["train"] == states(run)["report"] == "COMPLETED", logs(run)
    assert "ExcNodeList=\n" in client("scontrol", "show", "job", job).replace("(null)", "")


def test_dry_run_prints_a_script_that_works(run, capsys):
    assert submit(run, dry_run=True) == []
    script = capsys.readouterr().out
    assert not (run.root / "logs").exists()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SBP_")}
    subprocess.run(["bash", "-euc", script + '\necho "$report" > report_job'], check=True, env=environment, timeout=60)
    job = Path("report_job").read_text().strip()
    until(run, lambda: "COMPLETED" in client("squeue", "-h", "-t", "all", "-j", job, "-o", "%T"), "the end")
    assert StageRunner(run, by_name(toy.graph(), "report"), toy.graph()).finished()


def test_refused_job_is_reported(run):
    run.recipe.slurm.partition = "no_such_partition"
    with pytest.raises(InputError, match=r"no_such_partition|invalid partition"):
        submit(run)
    assert [job.stage for job in slurm_queue.jobs_of(run)] == ["squares", "total"]  # those were accepted, and are known
