"""Slurm's queue by its clients: small programs on PATH that answer as Slurm's do and note what they were asked."""

from __future__ import annotations

import shutil
import sys

import pytest
from support import stage_toys as toys
from support.slurm_clients import asked

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import slurm_queue
from megatron_sbp.executor.slurm_queue import Job
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    """Three stages are submitted, the second of them twice."""
    run = toys.make_run(tmp_path)
    for job in (Job("words", "11", 3, "abc"), Job("lengths", "12"), Job("total", "13"), Job("lengths", "14", 2)):
        slurm_queue.remember(run, job)
    return run


def states(run: Run) -> dict[str, str]:
    return {job.stage: job.state for job in slurm_queue.jobs_of(run)}


def test_the_last_job_of_every_stage_is_remembered(clients, run):
    clients("squeue")
    found = slurm_queue.jobs_of(run)
    assert [(job.stage, job.id, job.tasks, job.recipe) for job in found] == [
        ("words", "11", 3, "abc"), ("total", "13", None, ""), ("lengths", "14", 2, ""),
    ]  # fmt: skip


def test_states_of_tasks_are_counted(clients, run, tmp_path):
    clients("squeue", "11 RUNNING\n11 COMPLETED\n11 RUNNING\n13 PENDING\n14 COMPLETED\n14 COMPLETED\n")
    assert states(run) == {"words": "COMPLETED 1, RUNNING 2", "total": "PENDING", "lengths": "COMPLETED 2"}
    [[*command]] = asked(tmp_path)
    assert "--jobs=11,13,14" in command and "--array" in command


def test_which_tasks_failed(clients, run):
    answer = "11_10 FAILED NonZeroExitCode\n11_2 OUT_OF_MEMORY OutOfMemory\n11_3 RUNNING None\n13_N/A FAILED None\n"
    clients("squeue", answer, "slurm_load_jobs error: Invalid job id specified\n", 1)
    clients("sacct", "14_1 COMPLETED\n14_2 TIMEOUT\n14_3 CANCELLED by 0\n14_[4-9] PENDING\n")
    words, total, lengths = slurm_queue.jobs_of(run)
    assert (words.failed, total.failed, lengths.failed) == ((2, 10), (), (2,))
    assert words.state == "FAILED 1, OUT_OF_MEMORY 1, RUNNING 1" and total.state == "FAILED"


def test_why_a_job_waits(clients, run):
    clients(
        "squeue", "11 PENDING Resources\n11 PENDING Resources\n11 RUNNING None\n13 PENDING Dependency\n14 PENDING None"
    )
    assert states(run) == {
        "words": "PENDING (Resources) 2, RUNNING 1", "total": "PENDING (Dependency)", "lengths": "PENDING 1",
    }  # fmt: skip
    assert all(slurm_queue.is_live(job) for job in slurm_queue.jobs_of(run))


def test_which_jobs_a_job_waits_for(clients, run):
    after = "afterok:11_*(unfulfilled),afterok:13(unfulfilled),afterany:99(unfulfilled)"
    clients(
        "squeue",
        "11_1 RUNNING None|(null)|n1\n13 PENDING Dependency|afterok:11_*(unfulfilled)|\n"
        f"14_1 PENDING Dependency|{after}|\n14_2 PENDING Dependency|{after}|\n",
    )
    assert [str(job) for job in slurm_queue.jobs_of(run)] == [
        "job 11 (array of 3), words: RUNNING 1",
        "job 13, total: PENDING (Dependency); waits for job 11 (words)",
        "job 14 (array of 2), lengths: PENDING (Dependency) 2; waits for job 11 (words), job 13 (total), job 99",
    ]


def test_on_which_nodes_tasks_failed(clients, run):
    clients(
        "squeue",
        "11_1 NODE_FAIL NodeDown|(null)|n[1-2]\n11_2 TIMEOUT TimeLimit|(null)|n3\n11_3 COMPLETED None|(null)|n4\n"
        "13 PENDING Resources|(null)|\n",
    )
    clients("sacct", "14_1|OUT_OF_MEMORY|n5\n14_2|CANCELLED by 0|None assigned\n14_3|BOOT_FAIL|None assigned\n")
    words, total, lengths = slurm_queue.jobs_of(run)
    assert words.nodes == ("n[1-2]", "n3") and total.nodes == () and lengths.nodes == ("n5",)
    assert lengths.state == "BOOT_FAIL 1, CANCELLED 1, OUT_OF_MEMORY 1" and lengths.failed == (1, 3)


def test_what_the_queue_forgot_is_asked_of_the_accounts(clients, run, tmp_path):
    """A job that squeue no longer knows makes it fail where it is asked for that one alone."""
    clients("squeue", "13 RUNNING\n", "slurm_load_jobs error: Invalid job id specified\n", 1)
    assert states(run) == {"words": "gone from the queue", "total": "RUNNING", "lengths": "gone from the queue"}
    clients("sacct", "11_1 COMPLETED\n11_2 CANCELLED by 0\n11_3 COMPLETED\n")
    assert states(run) == {
        "words": "CANCELLED 1, COMPLETED 2", "total": "RUNNING", "lengths": "gone from the queue",
    }  # fmt: skip
    accounts = [command for command in asked(tmp_path) if command[0] == "sacct"]
    assert len(accounts) == 1 and accounts[0][accounts[0].index("-j") + 1] == "11,14"


@pytest.mark.parametrize("put", [False, True], ids=["missing", "failing"])
def test_a_queue_that_does_not_answer_is_unknown(clients, run, put):
    if put:
        clients("squeue", error="Unable to contact slurm controller", status=1)
    assert set(states(run).values()) == {"unknown (Slurm does not answer)"}
    with pytest.raises(InputError, match="Unable to contact" if put else "there is no Slurm here"):
        slurm_queue.cancel(run)


def test_a_queue_that_answers_again_does_not_know_less(clients, run, tmp_path):
    """It did not answer when it was asked for the jobs: that it does now says nothing about them."""
    clients("squeue", body="sys.exit('--me' not in sys.argv)")
    with pytest.raises(InputError, match=r"squeue: did not answer just now; whether jobs of this run .* is unknown"):
        slurm_queue.cancel(run)


def test_without_jobs_slurm_is_not_queried(clients, tmp_path):
    clients("squeue", "11 RUNNING\n")
    run = toys.make_run(tmp_path)
    assert slurm_queue.jobs_of(run) == [] and slurm_queue.cancel(run) == []
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("text", ["", "null", "{}", "[1]", '[{"stage": "words", "id": 11}]', "\udcff"])
def test_a_damaged_list_of_jobs_is_named_with_a_way_on(clients, run, text):
    clients("squeue", "11 RUNNING\n")
    file = run.job_logs / "jobs.json"
    file.write_text(text, errors="surrogateescape")
    for call in (slurm_queue.jobs_of, slurm_queue.cancel, lambda run: slurm_queue.remember(run, Job("total", "15"))):
        with pytest.raises(InputError, match=r"jobs\.json: .*; cancel the run's jobs .* then remove this file"):
            call(run)
    assert file.read_text(errors="surrogateescape") == text  # it may still tell which jobs there are


def test_live_jobs_are_canceled_and_no_others(clients, run, tmp_path):
    clients("squeue", "11 COMPLETED\n11 FAILED\n11 PENDING\n13 COMPLETED\n14 FAILED\n14 TIMEOUT\n")
    clients("scancel")
    assert [job.id for job in slurm_queue.cancel(run)] == ["11"]
    assert asked(tmp_path)[-1] == ["scancel", "11"]
    clients("squeue", "11 COMPLETED\n13 COMPLETED\n")
    assert slurm_queue.cancel(run) == []
    assert asked(tmp_path)[-1][0] == "squeue"
    clients("squeue", "13 RUNNING\n")
    clients("scancel", error="scancel: error: Access denied\n", status=1)
    with pytest.raises(InputError, match=r"scancel: error: Access denied \(status 1\); scancel 13"):
        slurm_queue.cancel(run)


@pytest.mark.parametrize(
    ("state", "live"),
    [
        ("PENDING", True), ("REQUEUE_HOLD", True), ("COMPLETED 3, RUNNING 1", True), ("COMPLETED 3, FAILED 1", False),
        ("CANCELLED", False), ("gone from the queue", False), ("unknown (Slurm does not answer)", False), ("", False),
    ],
)  # fmt: skip
def test_which_states_are_live(state, live):
    assert slurm_queue.is_live(Job("words", "1", state=state)) == live


def test_the_largest_array_is_the_sites(clients):
    assert slurm_queue.largest_array() == 1000
    clients("scontrol", "Configuration data\nMaxArraySize            = 50001\nMaxDBDMsgs = 20008\n")
    assert slurm_queue.largest_array() == 50000


def test_a_client_that_hangs_is_an_error(clients, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm_queue, "TIMEOUT", 0.2)
    (tmp_path / "bin" / "sinfo").write_text(f"#!{sys.executable} -S\nimport time\ntime.sleep(60)\n")
    (tmp_path / "bin" / "sinfo").chmod(0o755)
    with pytest.raises(InputError, match=r"sinfo: gave no answer in 0\.2 s"):
        slurm_queue.client(["sinfo"], {})


def test_a_client_gets_the_environment_and_more(clients, monkeypatch, tmp_path):
    (tmp_path / "bin" / "sbatch").write_text(
        f"#!{sys.executable} -S\nimport os\nprint(os.environ['ONE'], os.environ['TWO'])\n"
    )
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("ONE", "1")
    assert slurm_queue.client(["sbatch"], {"TWO": "2"}) == "1 2\n"


def test_jobs_of_the_run_folder_that_this_is_a_copy_of(clients, run, tmp_path):
    """A copy found them in the queue, so submitted nothing, and canceled them."""
    copy = tmp_path / "copy" / "run"
    copy.parent.mkdir()
    shutil.copytree(run.root, copy)
    clients("squeue", "11 RUNNING\n13 PENDING\n")
    clients("scancel")
    there = toys.make_run(tmp_path, f"run_folder={copy}")
    assert slurm_queue.jobs_of(there) == [] == slurm_queue.cancel(there)
    slurm_queue.remember(there, Job("words", "20"))
    assert list(states(there)) == ["words"] and list(states(run)) == ["words", "total", "lengths"]
    run.root.rename(tmp_path / "former")
    copy.rename(run.root)
    assert states(run) == {}


def test_jobs_of_another_cluster(clients, tmp_path):
    """Their numbers are those of other jobs here."""
    run = toys.make_run(tmp_path)
    clients("squeue", "11 RUNNING\n12 RUNNING\n")
    for name, number in (("one", "11"), ("two", "12"), (None, "13")):
        clients("scontrol", f"SlurmUser = x\nClusterName             = {name}\n" if name else "", status=not name)
        assert len(slurm_queue.jobs_of(run)) == (number == "13")
        slurm_queue.remember(run, Job("words", number))
        assert [job.id for job in slurm_queue.jobs_of(run)] == [number]
