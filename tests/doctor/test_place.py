"""Which rank a process is, by the variables of torchrun, rank.sh, and srun."""

from __future__ import annotations

import os

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.doctor import place
from megatron_sbp.doctor.place import first_node, place_among_ranks, ranks_on_this_node

STEP = {
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "99",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURMD_NODENAME": "gpu07",
}


def test_alone():
    assert place_among_ranks({}) is None
    assert place_among_ranks({"RANK": "0", "WORLD_SIZE": "1"}) is None
    # A batch script knows of the tasks that it may start, but is one process.
    assert place_among_ranks({"SLURM_JOB_ID": "41", "SLURM_NTASKS": "16", "SLURM_PROCID": "0"}) is None


def test_srun(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no scontrol: the name of the first node is its address
    place = place_among_ranks(STEP)
    assert (place.rank, place.size, place.node, place.address, place.port) == (5, 16, "gpu07", "gpu07", 20043)
    assert not place.first_here and not place.serves
    assert place_among_ranks({**STEP, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).serves


@pytest.mark.parametrize("script, address", [("echo '   NodeAddr=10.0.0.7 NodeHostName=gpu07'", "10.0.0.7"),
                                             ("exec sleep 60", "gpu07"), ("exit 1", "gpu07")])  # fmt: skip
def test_srun_asks_for_the_address_of_the_first_node(tmp_path, monkeypatch, script, address):
    """Slurm's own cannot be made slow: this one does not answer, as while the controller is down."""
    tool = tmp_path / "scontrol"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(place, "SECONDS", 0.5)
    assert place_among_ranks(STEP).address == address


def test_torchrun_has_opened_the_port_already():
    ranks = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1234", "LOCAL_RANK": "0"}
    assert place_among_ranks(ranks).serves
    assert not place_among_ranks({**ranks, "TORCHELASTIC_USE_AGENT_STORE": "True"}).serves


@pytest.mark.parametrize(
    "variables", [{"RANK": "0"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}]
)
def test_variables_that_say_half(variables):
    with pytest.raises(InputError, match=r"WORLD_SIZE|RANK|MASTER_ADDR"):
        place_among_ranks(variables)


@pytest.mark.parametrize(
    "nodes, first",
    [("a", "a"), ("a,b", "a"), ("gpu[003-010,012],cpu1", "gpu003"), ("r[1-2]n", "r1n"), ("", ""),
     ("r[2,4]n[05-08],x[1-2]", "r2n05"), ("r[1-2]n[7]-ib,a", "r1n7-ib")],
)  # fmt: skip
def test_the_first_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_ranks_of_a_node():
    assert ranks_on_this_node({}) == 1 and ranks_on_this_node({"LOCAL_WORLD_SIZE": "8"}) == 8
    assert ranks_on_this_node({"SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}) == 4
