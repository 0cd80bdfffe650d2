"""The nodes that a job avoids when it goes back into the queue after a fault. As a program, for scripts/job.sh:

    python -m megatron_sbp.executor.avoided_nodes FAULTS LIMIT

It prints them as `scontrol update ExcNodeList=` takes them, together with those that the job excluded before; nothing
where no node has had LIMIT different faults, or where Slurm says that the job could not run on the others. A job that
waited for nodes that do not exist would wait forever.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from os import environ
from pathlib import Path

from megatron_sbp.executor.failing_nodes import failing_nodes

_SECONDS = 30
"""For a client of Slurm."""

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
    about = dict(re.findall(r"(\S+?)=(\S*)", _client("scontrol", "show", "job", "--oneliner", job_of(environment))))
    former = [own] if (own := about.get("ExcNodeList", "")) not in ("", "(null)") else []
    known = set(_client("scontrol", "show", "hostnames", *former).split()) if former else set()
    nodes = ",".join([*former, *(node for node in failing if node not in known)])
    if known.issuperset(failing) or not _could_run(about, environment, nodes):
        return ""
    return nodes


def job_of(environment: Mapping[str, str]) -> str:
    """The job, or the task of an array, as Slurm's clients take it. One task of an array has the number of the array:
    with that alone, they would act on all of its tasks."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


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
    outside = {
        name: value for name, value in environment.items() if not name.startswith(("SLURM_J", "SLURM_A", "SBATCH"))
    }
    try:
        return subprocess.run(words, env=outside, capture_output=True, timeout=_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _client(*words: str) -> str:
    """Output of a client; empty where it is missing or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


if __name__ == "__main__":
    print(avoided(Path(sys.argv[1]), int(sys.argv[2]), environ))
