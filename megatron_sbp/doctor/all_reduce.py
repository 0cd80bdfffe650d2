"""One all-reduce among the ranks, in a process of its own: a collective that hangs can only be killed.

    python -m megatron_sbp.doctor.all_reduce ADDRESS PORT RANK SIZE BACKEND DEVICE SECONDS

prints the seconds of a repetition, and ends with status 1 and the reason on standard error.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from datetime import timedelta

from megatron_sbp.base.processes import module_words, python_path
from megatron_sbp.doctor.meeting import Attendance
from megatron_sbp.doctor.place import Place

BYTES = {"nccl": 256 << 20, "gloo": 16 << 20}
REPETITIONS = 5


def bus_bandwidth(size: int, seconds: float, ranks: int) -> float:
    """Bytes/s on the busiest link, as nccl-tests counts them: 2 (n - 1) / n of the tensor crosses it."""
    return 2 * (ranks - 1) / ranks * size / seconds


def share(rank: int) -> int:
    """Each rank's addend: small enough that float32 holds the sum over any number of ranks exactly, in any order."""
    return 1 + rank % 100


def run_all_reduce(place: Place, attendance: Attendance, backend: str, seconds: float) -> tuple[float, str]:
    """Starts this rank's process and waits for its end.

    Returns:
        Seconds of a repetition and an empty reason; or 0 and the reason why there is none.
    """
    device = attendance.index_on_node(place.rank)
    words = [place.address, place.port, place.rank, place.size, backend, device, seconds]
    command = [*module_words("megatron_sbp.doctor.all_reduce"), *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": python_path(), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    try:
        # Longer than its own timeouts, which do not cover importing torch.
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=2 * seconds)
    except subprocess.TimeoutExpired:
        return 0.0, f"did not finish in {2 * seconds:g} s"
    if done.returncode or not done.stdout.strip():
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        return 0.0, lines[-1][:200]
    return float(done.stdout.split()[-1]), ""


def main(words: list[str]) -> int:
    """The process of one rank."""
    import torch
    import torch.distributed as dist

    address, port, rank, size, backend, device, limit = words
    ranks, timeout = int(size), timedelta(seconds=float(limit))
    store = dist.PrefixStore("all-reduce", dist.TCPStore(address, int(port), is_master=False, timeout=timeout))
    if backend == "nccl":
        torch.cuda.set_device(int(device) % torch.cuda.device_count())
    dist.init_process_group(backend, store=store, rank=int(rank), world_size=ranks, timeout=timeout)
    tensor = torch.empty(BYTES[backend] // 4, device="cuda" if backend == "nccl" else "cpu")
    taken, expected = [], sum(map(share, range(ranks)))
    for _ in range(1 + REPETITIONS):
        tensor.fill_(share(int(rank)))
        dist.barrier()
        begun = time.perf_counter()
        dist.all_reduce(tensor)
        total = tensor.max().item()  # waits for the device
        taken.append(time.perf_counter() - begun)
        if total != expected or tensor.min().item() != total:
            found = f"{tensor.min().item():g} to {total:g}"
            print(f"a sum over {ranks} ranks is {expected}, but came out as {found}", file=sys.stderr)
            return 1
    dist.barrier()  # no rank is still in the last sum
    print(statistics.median(taken[1:]))
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # gloo's threads, still running, would abort a process that exits normally
