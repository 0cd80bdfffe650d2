"""A real Slurm on this machine: munge, one controller, three slurmd that play nodes. No systemd, no cgroups.

Two nodes have eight GPUs each, as far as Slurm knows: a gres of type gpu whose files are no devices. The third has
none. Jobs in the partition `urgent` preempt those of the others, which go back into the queue.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.lacking import installed_by_apt, lacking

from megatron_sbp.base.processes import held_port

CONFIG = """
ClusterName=sbptest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
StateSaveLocation={root}/state
SlurmdPidFile={root}/slurmd-%n.pid
SlurmdSpoolDir={root}/spool-%n
SlurmdLogFile={root}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=3600
FirstJobId={first}
MaxArraySize=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=96 RealMemory=999000 Gres=gpu:8 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=96 RealMemory=999000 Gres=gpu:8 State=UNKNOWN
NodeName=node3 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=96 RealMemory=999000 State=UNKNOWN
PartitionName=gpu Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=cpu Nodes=node3 MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=urgent Nodes=node[1-3] MaxTime=INFINITE State=UP OverSubscribe=NO PriorityTier=10 PreemptMode=OFF
"""

MEMORY_LIMITS = """
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
"""
"""Once a second Slurm adds up what the processes of a job hold, and ends a job that holds more than it requested."""

GRES = "NodeName=node[1-2] Name=gpu File={root}/gpu[0-7]\n"
"""slurmd drops GPUs without files."""


def install_slurm() -> None:
    """Installs Slurm where that is wanted; ends the test where it cannot run."""
    if os.geteuid() != 0:
        lacking("starting Slurm needs root")
    installed_by_apt("Slurm", _there, "SBP_TEST_SLURM", "slurm-wlm", "munge")


def _there() -> bool:
    return bool(shutil.which("slurmctld") and shutil.which("munged"))


@contextlib.contextmanager
def cluster(more: str = "") -> Iterator[Path]:
    """A running cluster with partitions gpu and cpu; yields its folder. SLURM_CONF points the clients at it.

    Args:
        more: lines of slurm.conf, in place of those that set the same.
    """
    with contextlib.ExitStack() as held:
        with _cluster_at([held.enter_context(held_port()) for _ in range(4)], more) as root:
            yield root


@contextlib.contextmanager
def _cluster_at(ports: list[int], more: str) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="sbp-slurm-"))  # short: a socket's path has at most 108 characters
    root.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    configuration = root / "slurm.conf"
    # A training's port follows from its job's number, and clusters of other test processes are on the same host.
    first = 1 + 600 * (os.getpid() % 20)
    set_anew = tuple(line.partition("=")[0] + "=" for line in more.split())
    lines = CONFIG.format(root=root, host=host, ports=ports, first=first).splitlines()
    configuration.write_text("\n".join(line for line in lines if not line.startswith(set_anew)) + more)
    (root / "gres.conf").write_text(GRES.format(root=root))
    for number in range(8):
        (root / f"gpu{number}").touch()
    (root / "state").mkdir()
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    former = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    try:
        munge = [f"--key-file={key}", f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid"]
        _start(["munged", "--force", *munge, f"--log-file={root}/munged.log", f"--seed-file={root}/munged.seed"])
        _start(["slurmctld", "-f", str(configuration)])
        for node in ("node1", "node2", "node3"):
            _start(["slurmd", "-N", node, "-f", str(configuration)])
        deadline = time.monotonic() + 45
        while client("sinfo", "-h", "-N", "-o", "%T").split() != ["idle"] * 6:  # every node in two partitions
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm did not come up: {(root / 'slurmctld.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield root
    finally:
        client("scancel", "--user=root")
        for file in (*root.glob("slurmd-*.pid"), root / "slurmctld.pid", root / "munged.pid"):
            _stop(file)
        if former is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = former
        shutil.rmtree(root, ignore_errors=True)


def client(*words: str) -> str:
    """What one of Slurm's clients prints; empty when it fails or hangs."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout
    except subprocess.TimeoutExpired:
        return ""


@contextlib.contextmanager
def closed(*partitions: str) -> Iterator[None]:
    """Inside the block, partitions take jobs and start none; what is left of them is canceled."""
    for name in partitions:
        client("scontrol", "update", f"PartitionName={name}", "State=DOWN")
    try:
        yield
    finally:
        client("scancel", "--user=root")
        for name in partitions:
            client("scontrol", "update", f"PartitionName={name}", "State=UP")


@contextlib.contextmanager
def silent(folder: Path) -> Iterator[None]:
    """Inside the block, the controller of the cluster in this folder does not answer."""
    pid = int((folder / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _start(words: list[str]) -> None:
    """Starts a daemon, which goes into the background by itself."""
    # Not through pipes: the daemon would keep them open, and waiting for their end would never end.
    result = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if result.returncode:
        raise RuntimeError(f"{words[0]} ended with status {result.returncode}")


def _stop(file: Path) -> None:
    """Ends the process of a pid file."""
    try:
        pid = int(file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(50):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        pass
