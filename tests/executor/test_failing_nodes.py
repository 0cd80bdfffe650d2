from __future__ import annotations

import json

import pytest

from megatron_sbp.executor.failing_nodes import excluding, failing_nodes


@pytest.fixture
def faults(tmp_path):
    rows = {"7": ["n1", "n2"], "8_3": ["n1"], "9": ["n3", ""], "10": ["n2", "n1"]}
    for number, (job, nodes) in enumerate(rows.items()):
        (tmp_path / f"{job}.jsonl").write_text(
            "".join(
                json.dumps({"node": node, "cause": "rank 3 was killed", "progress": f"checkpoint {number}"}) + "\n"
                for node in nodes
            )
        )
    (tmp_path / "11.jsonl").write_text('{"node": 3}\n[1]\n{"no\n')
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "expected"), [(2, {"n1": 3, "n2": 2}), (3, {"n1": 3}), (1, {"n1": 3, "n2": 2, "n3": 1}), (0, {}), (4, {})]
)
def test_nodes_are_counted_over_all_jobs_of_the_run(faults, limit, expected):
    assert failing_nodes(faults, limit) == expected


def test_a_crash_loop_counts_once(tmp_path):
    rows = [{"node": "n1", "cause": f"rank {n}: CUDA error at 0x{n}", "progress": "checkpoint 7"} for n in range(5)]
    (tmp_path / "7.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert failing_nodes(tmp_path, 1) == {"n1": 1} and failing_nodes(tmp_path, 2) == {}


def test_a_run_without_faults(tmp_path):
    assert failing_nodes(tmp_path / "none", 2) == {}


def test_the_users_own_option_stays():
    assert excluding(["--nice", "--exclude=a,b"], ["n1"]) == ["--nice", "--exclude=a,b,n1"]
    assert excluding(["--nice"], ["n1", "n2"]) == ["--nice", "--exclude=n1,n2"]
    assert excluding(["--exclude", "a", "--nice"], ["n1"]) == ["--nice", "--exclude=a,n1"]
    assert excluding(["-x", "a", "--exclude=b"], ["n1"]) == ["--exclude=b,n1"]
    assert excluding(["--exclude=a"], []) == ["--exclude=a"]


def test_nodes_of_another_cluster(tmp_path):
    """sbatch refuses to exclude a node that it does not know."""
    rows = [{"node": "n1", "cause": f"cause {'ab'[n]}", "progress": "", "cluster": "one"} for n in range(2)]
    (tmp_path / "7.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert failing_nodes(tmp_path, 2, "one") == failing_nodes(tmp_path, 2) == {"n1": 2}
    assert failing_nodes(tmp_path, 2, "two") == {}
