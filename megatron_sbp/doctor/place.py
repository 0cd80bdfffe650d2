"""Which rank of how many this process is, according to torchrun, rank.sh, or srun."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from megatron_sbp.base.errors import InputError

SECONDS = 20
"""How long `scontrol` may take."""


@dataclass(frozen=True)
class Place:
    """A rank among others.

    Attributes:
        rank: from 0.
        size: how many ranks there are; at least 2.
        node: name of the machine.
        first_here: whether it is the first rank of its node, according to the launcher.
        address: where rank 0 listens.
        port: on which port.
        serves: whether this rank opens that port; under torchrun the agent has done so.
    """

    rank: int
    size: int
    node: str
    first_here: bool
    address: str
    port: int
    serves: bool


def place_among_ranks(variables: Mapping[str, str]) -> Place | None:
    """The place that environment variables give; None for a process that was started alone.

    Raises:
        InputError: a variable is missing or not a number.
    """
    node = variables.get("SLURMD_NODENAME") or socket.gethostname()
    if "WORLD_SIZE" in variables or "RANK" in variables:
        rank, size = _number(variables, "RANK"), _number(variables, "WORLD_SIZE")
        if size < 2:
            return None
        if "MASTER_ADDR" not in variables:
            raise InputError("is not set, though RANK and WORLD_SIZE are", key="MASTER_ADDR")
        agent = variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        first = variables.get("LOCAL_RANK", "0") == "0"
        port = _number(variables, "MASTER_PORT")
        return Place(rank, size, node, first, variables["MASTER_ADDR"], port, rank == 0 and not agent)
    # A batch script, and a shell of salloc, know the number of tasks too; only in a step there are as many processes.
    if "SLURM_STEP_ID" not in variables or "SLURM_PROCID" not in variables:
        return None
    count = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in variables else "SLURM_NTASKS"
    rank, size = _number(variables, "SLURM_PROCID"), _number(variables, count)
    if size < 2:
        return None
    port = 20_000 + (_number(variables, "SLURM_JOB_ID") + _number(variables, "SLURM_STEP_ID")) % 12_000
    address = variables.get("MASTER_ADDR") or _first_address(variables)
    return Place(rank, size, node, variables.get("SLURM_LOCALID", "0") == "0", address, port, rank == 0)


def ranks_on_this_node(variables: Mapping[str, str]) -> int:
    """How many ranks the launcher started on this node; 1 if it does not say."""
    slurm = variables.get("SLURM_STEP_TASKS_PER_NODE", "1") if "SLURM_STEP_ID" in variables else "1"  # "8(x16)", "2,1"
    found = re.match(r"\d+", variables.get("LOCAL_WORLD_SIZE") or slurm)
    return int(found[0]) if found else 1


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "")
    if not text.isdigit():
        raise InputError(f"must be a number, not '{text}'", key=name)
    return int(text)


def _first_address(variables: Mapping[str, str]) -> str:
    """Address of the first node of a Slurm step: what Slurm knows of it, otherwise its name."""
    nodes = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_JOB_NODELIST", "")
    name = first_node(nodes)
    try:
        words = ["scontrol", "show", "node", name]
        about = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):  # no scontrol here, or its controller does not answer
        return name
    found = re.search(r"NodeAddr=(\S+)", about)
    return found[1] if found else name


def first_node(nodes: str) -> str:
    """The first name of a list as Slurm writes it: `gpu003` of `gpu[003-010,012],cpu1`, `r1n05` of `r[1-2]n[05-08]`."""
    first = re.match(r"(?:[^\[,]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0]) if first else ""
