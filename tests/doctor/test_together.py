"""Real ranks: processes that find one another, add up numbers over gloo, and compare a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.whole_program import environment

from megatron_sbp.base.processes import held_port

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
DOCTOR = [sys.executable, "-m", "megatron_sbp", "doctor"]


def start(rank: int, size: int, port: int, *words: str | Path, **variables: str) -> subprocess.Popen:
    outside = {name: value for name, value in environment().items() if not name.startswith(("SLURM", "TORCHELASTIC"))}
    ranks = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [*DOCTOR, *map(str, words)],
        env={**outside, **ranks, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    out, err = process.communicate(timeout=540)
    assert "Traceback" not in err, err[-4000:]
    return process.returncode, out


def checks(out: str) -> dict[str, dict]:
    return {entry["check"]: entry for entry in json.loads(out)["checks"]}


@pytest.mark.exhaustive  # tests/slurm/test_doctor.py has it on Slurm
def test_two_ranks_on_two_nodes(tmp_path):
    words = [TINY, "launch.device=cpu", f"run_folder={tmp_path}/run", "--json", "--timeout", "120"]
    with held_port() as port:
        ranks = [start(rank, 2, port, *words, SLURMD_NODENAME=f"node{rank}") for rank in range(2)]
        (status, out), (other, silent) = map(end, ranks)
    found = checks(out)
    assert (status, other, silent) == (0, 0, ""), out
    reduced = found["all-reduce"]
    assert reduced["status"] == "ok" and "2 ranks on 2 nodes over gloo: 16.8 MB in" in reduced["text"]
    assert found["shared folder"]["status"] == "ok" and "2 nodes see" in found["shared folder"]["text"]
    assert found["nodes"]["text"].startswith("2 nodes examined") and not list(tmp_path.iterdir())


def test_a_node_that_differs_is_named(tmp_path):
    """The second node has another folder under the same name, as where a run folder is not shared."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    words = ["--json", "--timeout", "120"]
    with held_port() as port:
        ranks = []
        for rank, name in enumerate(("first", "second")):
            hidden = f"mount --bind {tmp_path}/second {tmp_path}/first && " if rank else ""
            line = f"{hidden}cd {tmp_path}/first && exec {' '.join(DOCTOR)} {' '.join(words)}"
            variables = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            command = ["unshare", "--mount", "sh", "-c", line] if rank else ["sh", "-c", line]
            if rank and (os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode):
                pytest.skip("only root has mounts of its own")
            env = {**environment(), **variables, "SLURMD_NODENAME": name}
            ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        (status, out), _ = map(end, ranks)
    shared = checks(out)["shared folder"]
    assert status == 1 and shared["status"] == "fail" and "second does not see a file there" in shared["text"]


def test_an_all_reduce_that_one_rank_cannot_join_ends(tmp_path):
    """The second rank's gloo finds no such interface; the first would wait for it for ever."""
    words = ["--json", "--timeout", "20"]
    with held_port() as port:
        ranks = [start(0, 2, port, *words), start(1, 2, port, *words, GLOO_SOCKET_IFNAME="none9")]
        (status, out), _ = map(end, ranks)
    reduced = checks(out)["all-reduce"]
    assert status == 1 and reduced["status"] == "fail" and "rank 1 (" in reduced["text"] and "none9" in reduced["text"]
    assert "GLOO_SOCKET_IFNAME" in reduced["remedy"]


def test_a_rank_that_never_comes_is_named(tmp_path):
    with held_port() as port:
        status, out = end(start(0, 3, port, TINY, f"run_folder={tmp_path}/run", "--json", "--timeout", "3"))
    found = checks(out)
    assert status == 1 and found["all-reduce"]["status"] == "fail"
    assert "ranks 1, 2 of 3 did not arrive in 3 s; present are 1 on" in found["all-reduce"]["text"]
    assert found["python"]["status"] == "ok"  # and the machine was examined all the same


@pytest.mark.exhaustive
def test_a_rank_0_that_never_comes(tmp_path):
    with held_port() as port:
        words = [TINY, f"run_folder={tmp_path}/run", "--timeout", "3"]
        ranks = [start(1, 2, port, *words, LOCAL_RANK="0"), start(1, 2, port, *words, LOCAL_RANK="1")]
        (status, out), quiet = map(end, ranks)
    assert status == 1 and f"rank 0 did not answer on 127.0.0.1:{port} in 3 s" in out
    assert quiet == (0, "")
