"""Lines of Slurm's clients as jobs and tasks."""

from __future__ import annotations

from megatron_sbp.executor.job_states import Task, accounted, failed_of, nodes_of, state_of, tasks_by_job, waits_of


def test_lines_of_squeue():
    after = "afterok:11_*(unfulfilled),afterok:9(unfulfilled)"
    lines = ["11_2 TIMEOUT TimeLimit|(null)|n[1-2]", "11_1 RUNNING None|(null)|n3"]
    found = tasks_by_job([*lines, f"12_N/A PENDING Dependency|{after}|", ""])
    assert found == {
        "11": [Task("2", "TIMEOUT", nodes="n[1-2]"), Task("1", "RUNNING", nodes="n3")],
        "12": [Task("N/A", "PENDING (Dependency)", ("11", "9"))],
    }
    assert nodes_of(found["11"]) == ("n[1-2]",) and failed_of(found["11"]) == (2,)
    assert waits_of(found["12"], {"11": "judge"}) == ("job 11 (judge)", "job 9")


def test_lines_of_sacct():
    found = accounted("14_1|OUT_OF_MEMORY|n5\n14_2|CANCELLED by 0|None assigned\n15|COMPLETED|n1\n")
    assert found["14"] == [Task("1", "OUT_OF_MEMORY", nodes="n5"), Task("2", "CANCELLED")]
    assert state_of(found["14"], array=True) == "CANCELLED 1, OUT_OF_MEMORY 1"
    assert state_of(found["15"], array=False) == "COMPLETED" and state_of([], array=False) == "gone from the queue"
