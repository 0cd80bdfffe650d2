"""Device selection for torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from megatron_sbp.base.errors import InputError


def compute_device(wanted: str) -> str:
    """cpu or cuda; `auto` is CUDA if torch finds it. Raises InputError if cuda is requested and there is none."""
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InputError("is cuda, but torch finds no CUDA device here", key="launch.device")
    return "cpu"


_DRIVER = Path("/proc/driver/nvidia/gpus")


def gpus(environment: Mapping[str, str], driver: Path = _DRIVER) -> list[str]:
    """The GPUs that a process with this environment may use, as CUDA_VISIBLE_DEVICES names them. Imports no torch.

    Args:
        environment: of the process.
        driver: folder in which NVIDIA's driver lists the GPUs.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # As CUDA reads it: an entry that is not a device (-1, Slurm's NoDevFiles) hides the rest.
        names = [name.strip() for name in named.split(",")]
        return list(itertools.takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, filter(None, names)))
    return [str(number) for number in range(len(list(driver.iterdir())) if driver.is_dir() else 0)]


def share_of_gpus(found: list[str], worker: int, workers: int) -> list[str]:
    """The GPUs for one of several parallel processes: all are used, and shared only if there are fewer GPUs than
    processes.

    Args:
        found: `gpus`.
        worker: from 0.
        workers: number of processes.
    """
    if not found:
        return []
    if workers > len(found):
        return [found[worker % len(found)]]
    return found[worker * len(found) // workers : (worker + 1) * len(found) // workers]
