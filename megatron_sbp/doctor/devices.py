"""torch, CUDA, the driver, and the devices with their memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.place import ranks_on_this_node
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes

BUSY = 2e9
"""Bytes on a device that others, or this process's own CUDA context, may hold."""


@dataclass(frozen=True)
class Device:
    """A CUDA device as torch sees it; bytes."""

    name: str
    total: int
    free: int


def check_torch(subject: Subject) -> Iterator[Finding]:
    """torch can be imported; its CUDA, and the driver's version."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield fail("torch", f"cannot be imported ({error})", "install it for this machine: https://pytorch.org")
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    driver = driver_version()
    yield ok("torch", f"{torch.__version__}, {built}, " + (f"driver {driver}" if driver else "no NVIDIA driver"))


def check_devices(subject: Subject) -> Iterator[Finding]:
    """The CUDA devices: enough of them, usable, and not in use by others."""
    if not subject.wants_gpu:  # whatever is wrong with these devices does not stop a run
        yield ok("devices", f"launch.device is cpu: {os.cpu_count()} CPU cores")
        return
    try:
        devices = cuda_devices()
    except (ImportError, OSError):
        return  # check_torch has reported it
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "`nvidia-smi` shows whether it is in use or broken; another node may work"
        yield fail("devices", f"a CUDA device cannot be used: {reason}", remedy)
        return
    if not devices:
        yield _none(subject)
        return
    kinds = Counter((device.name, device.total) for device in devices)
    text = ", ".join(f"{count} x {name}, {format_bytes(total)} each" for (name, total), count in kinds.items())
    ranks = subject.recipe.launch.ranks_per_node if subject.recipe else 1
    # Slurm may give every task of a node its own device and hide the others.
    tasks = ranks_on_this_node(os.environ) if len(devices) == 1 else 1
    if len(devices) * tasks < ranks:
        remedy = "launch.ranks_per_node is the number of GPUs of a node; in a job: --gpus-per-node"
        yield fail("devices", f"{text}; the recipe has {ranks} ranks on a node", remedy)
        return
    used = [format_bytes(device.total - device.free) for device in devices if device.total - device.free > BUSY]
    if used:
        yield warn("devices", f"{text}; in use already: {', '.join(used)}", "`nvidia-smi` shows by which processes")
    else:
        yield ok("devices", text)


def _none(subject: Subject) -> Finding:
    driver = driver_version()
    if driver:
        import torch

        text = f"torch finds no CUDA device, though there is an NVIDIA driver {driver}"
        remedy = "install a torch that is built for CUDA" if not torch.version.cuda else _VISIBLE
        recipe = subject.recipe
        if recipe is not None and recipe.launch.device == "auto" and recipe.slurm.gpus_per_node is None:
            return warn("devices", f"{text}: a run will use the CPU", remedy)
        return fail("devices", text, remedy)
    if subject.recipe is None or subject.recipe.launch.device != "cuda":
        return ok("devices", f"no GPU: {os.cpu_count()} CPU cores")
    text = "no CUDA device, and launch.device is cuda"
    if shutil.which("srun") and "SLURM_JOB_ID" not in os.environ:
        return warn("devices", f"{text}; this may be a login node", "`srun --gpus-per-node=N sbp doctor RECIPE`")
    return fail("devices", text, "run it where the GPUs are; in a job: --gpus-per-node")


_VISIBLE = "CUDA_VISIBLE_DEVICES may hide it, or the driver is older than torch's CUDA needs"


def cuda_devices() -> list[Device]:
    """The devices that torch sees, each used once.

    Raises:
        RuntimeError: one of them cannot be used.
    """
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.ones(8, device=f"cuda:{index}").sum().item()
        free, total = torch.cuda.mem_get_info(index)
        found.append(Device(torch.cuda.get_device_name(index), total, free))
    return found


def driver_version() -> str | None:
    """Version of the NVIDIA driver; None where there is none."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split()
    return lines[0] if answer.returncode == 0 and lines else None
