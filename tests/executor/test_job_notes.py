"""What is said of a job that failed."""

from __future__ import annotations

import json
import os

import pytest
from support import stage_toys as toys

from megatron_sbp.executor.job_notes import notes_on
from megatron_sbp.executor.slurm_queue import Job
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    run = toys.make_run(tmp_path)
    (run.root / "logs" / "slurm" / "faults").mkdir(parents=True)
    return run


def write_faults(run: Run, name: str, *causes: str) -> None:
    rows = [
        {"time": f"T{n}", "node": "n3", "progress": f"checkpoint {n}", "cause": cause} for n, cause in enumerate(causes)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run.root / "logs" / "slurm" / "faults" / f"{name}.jsonl").write_text(text + '{"cut')


def test_nothing_of_a_job_that_goes_well(run):
    (run.root / "logs" / "slurm" / "sbp-words-5.out").write_text("one\n")
    for state in ("RUNNING", "PENDING (Dependency)", "COMPLETED 3", "gone from the queue"):
        assert notes_on(run, Job("words", "5", state=state)) == []


def test_a_requeued_job_tells_its_faults(run):
    write_faults(run, "5", "rank 1 was killed", "CUDA error")
    write_faults(run, "55", "of another job")
    assert notes_on(run, Job("train", "5", state="PENDING (BeginTime)")) == [
        "2 faults, the last (n3, T1, checkpoint 1): CUDA error"
    ]


def test_a_failed_job_shows_the_end_of_its_log_and_what_to_do(run):
    folder = run.root / "logs" / "slurm"
    (folder / "train-5.out").write_text(
        "first\n" * 9000 + "\nsecond\n\nsbp: fault: it broke\nlast " + "x" * 500 + "\n\n"
    )
    notes = notes_on(run, Job("train", "5", state="FAILED"))
    assert notes[0] == "logs/slurm/train-5.out ends with:"
    assert [line.strip()[:21] for line in notes[1:4]] == ["second", "sbp: fault: it broke", "last " + "x" * 16]
    assert len(notes[3]) <= 210 and "`sbp submit`" in notes[4]


@pytest.mark.parametrize(("state", "tasks"), [("TIMEOUT", None), ("COMPLETED 2, TIMEOUT 1", 3)])
def test_a_time_limit_that_ended_a_job_is_named(run, state, tasks):
    said = "\n".join(notes_on(run, Job("words", "5", tasks, state=state)))
    assert "its time limit ended it" in said and "slurm.time" in said and "`sbp submit`" in said
    assert "limit" not in "\n".join(notes_on(run, Job("words", "5", tasks, state=state.replace("TIMEOUT", "FAILED"))))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("OUT_OF_MEMORY", "Killed"),
        ("COMPLETED 2, OUT_OF_MEMORY 1", ""),
        ("FAILED", "slurmstepd-n1: error: Exceeded job memory limit"),
        (
            "FAILED",
            "slurmstepd: error: Detected 1 oom_kill event in StepId=5.batch. Some of the step tasks ...",
        ),
    ],
)
def test_a_job_that_slurm_ended_for_its_memory_is_named(run, state, said):
    log = run.root / "logs" / "slurm" / "words-5.out"
    log.write_text(said)
    job = Job("words", "5", 3 if "," in state else None, state=state)
    assert "held more memory than it requested" in "\n".join(notes_on(run, job))
    log.write_text("other words")
    job = Job("words", "5", state="FAILED")
    assert "memory" not in "\n".join(notes_on(run, job))


def test_the_tasks_of_an_array(run):
    folder = run.root / "logs" / "slurm"
    write_faults(run, "7_2", "bad node")
    for number, task in enumerate((1, 2)):
        log = folder / f"embed-7_{task}.out"
        log.write_text(f"task {task}")
        os.utime(log, (number, number))
    notes = notes_on(run, Job("embed", "7", 2, state="COMPLETED 1, OUT_OF_MEMORY 1"))
    assert notes[0] == "task 2: a fault (n3, T0, checkpoint 0): bad node"
    assert notes[1:3] == ["logs/slurm/embed-7_2.out ends with:", "  task 2"]


def test_an_array_tells_which_tasks_failed_and_shows_the_log_of_one_of_them(run):
    """The newest log is that of a task that went well."""
    folder = run.root / "logs" / "slurm"
    for number, task in enumerate((2, 11, 3, 4)):
        log = folder / f"embed-7_{task}.out"
        log.write_text(f"task {task}")
        os.utime(log, (number, number))
    notes = notes_on(run, Job("embed", "7", 12, state="COMPLETED 9, FAILED 3", failed=(1, 2, 3)))
    assert notes[:3] == ["failed: tasks 1-3", "logs/slurm/embed-7_3.out ends with:", "  task 3"]
    # A node that went down before the task could write anything: the newest log is all that there is.
    notes = notes_on(run, Job("embed", "7", 12, state="COMPLETED 11, NODE_FAIL 1", failed=(1,)))
    assert notes[:2] == ["failed: task 1", "logs/slurm/embed-7_4.out ends with:"]


def test_the_nodes_of_what_failed(run):
    single = Job("train", "5", state="FAILED", nodes=("n[1-2]",))
    assert notes_on(run, single)[0] == "failed on n[1-2]"
    tasks = Job("embed", "7", 9, state="FAILED 3", failed=(1, 2, 3), nodes=("n3", "n1", "n3"))
    assert notes_on(run, tasks)[0] == "failed: tasks 1-3 on n3 (2), n1 (1)"
    many = Job("embed", "7", 9, state="FAILED 9", failed=tuple(range(9)), nodes=tuple(f"n{at}" for at in range(9)))
    assert notes_on(run, many)[0].endswith("n4 (1), 4 more")
    assert "failed on" not in str(notes_on(run, Job("train", "5", state="RUNNING", nodes=())))


def test_what_its_time_limit_ended_did_not_fail(run):
    single = Job("train", "5", state="TIMEOUT", nodes=("n3",))
    assert notes_on(run, single)[0] == "ended on n3" and notes_on(run, single)[1].startswith("its time limit ended it")
    tasks = Job("embed", "7", 4, state="COMPLETED 2, TIMEOUT 2", failed=(1, 2), nodes=("n3", "n3"))
    assert notes_on(run, tasks)[0] == "ended: tasks 1-2 on n3 (2)"
    mixed = Job("embed", "7", 4, state="FAILED 1, TIMEOUT 1", failed=(1, 2))
    assert notes_on(run, mixed)[0] == "failed: tasks 1-2"


def test_thousands_of_failures_are_told_shortly(run):
    for task in range(40):
        write_faults(run, f"7_{task}", *["bad node"] * (1 + task // 20))
    notes = notes_on(run, Job("embed", "7", 9000, state="FAILED 4500", failed=tuple(range(1, 9000, 2))))
    faults = [line for line in notes if "bad node" in line]
    assert len(faults) == 10 and all("2 faults" in line for line in faults)
    assert notes[10] == "30 more tasks had faults (logs/slurm/faults)"
    assert notes[11].startswith("failed: tasks 1,3,5,") and notes[11].endswith(", ...") and len(notes[11]) < 130


def test_a_failed_job_without_a_log(run):
    [line] = notes_on(run, Job("embed", "7", state="NODE_FAIL"))
    assert "`sbp submit`" in line


@pytest.mark.parametrize("state", ["FAILED 1, RUNNING 3", "CANCELLED 1, PENDING (Resources) 2"])
def test_a_continuing_array_reports_the_outlook_after_a_failure(run, state):
    """`sbp submit` leaves it and what depends on it as they are, and Slurm cancels the latter hours later."""
    [line] = notes_on(run, Job("embed", "7", 4, state=state))
    assert "Slurm cancels the jobs that depend on this one" in line and "`sbp cancel`" in line
