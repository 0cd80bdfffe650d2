"""Whether every training run of the recipe fits into the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Iterator

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.doctor.devices import cuda_devices
from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes

SPARE = 0.9
"""Part of a device that an estimate may fill: CUDA, NCCL and fragments take some, and activations are estimated."""

REMEDY = "launch.distributed_optimizer, launch.tensor_parallel, or a smaller micro_batch_size"


def check_memory(subject: Subject) -> Iterator[Finding]:
    """The planned memory of a rank of every training run, against the smallest device."""
    if subject.recipe is None or not subject.wants_gpu:
        return
    try:
        devices = cuda_devices()
    except (ImportError, OSError, RuntimeError):
        return  # the check of the devices has reported it
    if devices:
        yield from fits(subject.plan["memory"]["trainings"], min(device.total for device in devices))


def fits(trainings: dict[str, JsonObject], device_bytes: int) -> Iterator[Finding]:
    """A finding about the training runs that fit, and one about each that does not.

    Args:
        trainings: bytes of a rank as the plan has them, in `total`, by the name of the stage.
        device_bytes: memory of a device.
    """
    room = format_bytes(device_bytes)
    small = {name: entry["total"] for name, entry in trainings.items() if entry["total"] <= SPARE * device_bytes}
    if small:
        largest = max(small, key=lambda name: small[name])
        text = f"{len(small)} of {len(trainings)} training runs fit"
        yield ok("GPU memory", f"{text}: {largest} needs about {format_bytes(small[largest])} of {room} on a rank")
    for name, entry in trainings.items():
        if name in small:
            continue
        text = f"{name} needs about {format_bytes(entry['total'])} on a rank, and a GPU has {room}"
        found = fail if entry["total"] > device_bytes else warn
        yield found("GPU memory", text, REMEDY)
