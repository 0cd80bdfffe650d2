"""Where torch computes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from megatron_sbp.base.errors import InputError


def compute_device(wanted: str) -> str:
    """cpu or cuda; `auto` is CUDA where torch finds it. Raises InputError when cuda is wanted and there is none."""
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
        driver: folder in which NVIDIA's driver lists what there is.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # As CUDA reads it: what is no device (-1, NoDevFiles of Slurm) hides the rest.
        names = [name.strip() for name in named.split(",")]
        return list(itertools.takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, filter(None, names)))
    return [str(number) for number in range(len(list(driver.iterdir())) if driver.is_dir() else 0)]


def share_of_gpus(found: list[str], worker: int, workers: int) -> list[str]:
    """The GPUs of one of several parallel processes: all are used, none by two processes unless there are too few.

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
