"""The checks of `sbp doctor`, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from megatron_sbp.doctor.devices import check_devices, check_torch
from megatron_sbp.doctor.findings import Finding, fail
from megatron_sbp.doctor.memory import check_memory
from megatron_sbp.doctor.open_files import check_open_files
from megatron_sbp.doctor.packages import check_packages
from megatron_sbp.doctor.slurm import check_slurm
from megatron_sbp.doctor.sources import check_inputs, check_models
from megatron_sbp.doctor.space import check_space
from megatron_sbp.doctor.storage import check_storage
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.doctor.system import check_megatron, check_system

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_system,
    check_megatron,
    check_torch,
    check_devices,
    check_packages,
    check_memory,
    check_slurm,
    check_models,
    check_inputs,
    check_open_files,
    check_storage,
    check_space,
)
"""Each yields a finding for everything that it looked at."""


def examine(subject: Subject) -> Iterator[Finding]:
    """Runs every check on this machine; one that crashes counts as failed, and the others still run."""
    for check in CHECKS:
        try:
            yield from check(subject)
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            text = f"the check itself failed: {type(error).__name__}: {error}"
            yield fail(name, text, "run `sbp plan` too; please report it")
