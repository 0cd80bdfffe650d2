"""The nodes that a job avoids when it goes back into the queue after a fault. As a program, for scripts/job.sh:

    python -m megatron_sbp.executor.avoided_nodes FAULTS LIMIT

It prints them as `scontrol update ExcNodeList=` takes them, together with those that the job excluded before; nothing
where no node has had LIMIT different faults, or where Slurm says that the job could not run on the others. A job that
waited for nodes that do not exist would wait forever.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from os import environ
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.failing_nodes import failing_nodes
from megatron_sbp.executor.job_rows import job_of
from megatron_sbp.executor.slurm_queue import client

_OPTIONS = {"Partition": "partition", "Account": "account", "QOS": "qos", "Features": "constraint"}
"""What `scontrol show job` calls the sbatch options that decide where a job may run."""


def avoided(faults: Path, limit: int, environment: Mapping[str, str]) -> str:
    """Nodes for ExcNodeList, separated by commas; empty when there is nothing to change.

    Args:
        faults: folder with the faults of every job of the run.
        limit: different faults of a node; 0 avoids none.
        environment: of the job.
    """
    failing = failing_nodes(faults, limit, environment.get("SLURM_CLUSTER_NAME"))
    if not failing:
        return ""
    about = dict(re.findall(r"(\S+?)=(\S*)", _answer("scontrol", "show", "job", "--oneliner", job_of(environment))))
    former = [own] if (own := about.get("ExcNodeList", "")) not in ("", "(null)") else []
    known = set(_answer("scontrol", "show", "hostnames", *former).split()) if former else set()
    nodes = ",".join([*former, *(node for node in failing if node not in known)])
    if known.issuperset(failing) or not _could_run(about, environment, nodes):
        return ""
    return nodes


def _could_run(about: Mapping[str, str], environment: Mapping[str, str], nodes: str) -> bool:
    """Whether Slurm would take such a job without these nodes; nothing is submitted."""
    options = [
        f"--{option}={about[name]}"
        for name, option in _OPTIONS.items()
        if about.get(name, "(null)") not in ("(null)", "")
    ]
    per_node = re.search(r"gpu(?::\w+)?[:=](\d+)", about.get("TresPerNode", ""))
    if per_node:
        options.append(f"--gpus-per-node={per_node[1]}")
    count = environment.get("SLURM_JOB_NUM_NODES", "1")
    words = ["sbatch", "--test-only", *options, f"--nodes={count}", f"--exclude={nodes}", "--wrap=true"]
    try:
        client(words, {})
    except InputError:
        return False
    return True


def _answer(*words: str) -> str:
    """Output of a client; empty where it is missing or fails."""
    try:
        return client(list(words), {})
    except InputError:
        return ""


if __name__ == "__main__":
    print(avoided(Path(sys.argv[1]), int(sys.argv[2]), environ))
