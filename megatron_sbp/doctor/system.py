"""Python, the C library, and megatron-core."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject

PACKAGE = "megatron-sbp"


def check_system(subject: Subject) -> Iterator[Finding]:
    """Python in the supported range; glibc as new as the installed wheels need it; the architecture."""
    required = _metadata()
    if required is None:
        yield warn(
            "python", f"{platform.python_version()}; {PACKAGE} is not installed, so its range is not known", _INSTALL
        )
    else:
        yield python_in_range(platform.python_version(), required[0])
    yield glibc_is_new_enough(platform.libc_ver()[1], *newest_glibc_of_wheels())
    yield _architecture(subject)


def check_megatron(subject: Subject) -> Iterator[Finding]:
    """megatron-core in the range that setup.py gives."""
    required = _metadata()
    if required is None:
        yield warn("megatron-core", f"{PACKAGE} is not installed, so the supported range is not known", _INSTALL)
    else:
        yield in_range(next(entry for entry in required[1] if entry.name == "megatron-core"))


_INSTALL = "`pip install -e .` in its repository"


def python_in_range(version: str, wanted: str) -> Finding:
    """Whether a Python version is in a range such as `>=3.12`."""
    if version in SpecifierSet(wanted, prereleases=True):
        return ok("python", version)
    return fail(
        "python", f"{version}, and {PACKAGE} needs {wanted}", f"make the virtual environment with Python {wanted}"
    )


def in_range(requirement: Requirement) -> Finding:
    """Whether an installed package is in a range such as `megatron-core>=0.19,<0.20`."""
    name, install = requirement.name, f"`pip install '{requirement.name}{requirement.specifier}'`"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return fail(name, "is not installed", install)
    if requirement.specifier.contains(version, prereleases=True):
        return ok(name, f"{version} (supported: {requirement.specifier})")
    return fail(name, f"{version}, but supported is {requirement.specifier}", install)


def glibc_is_new_enough(version: str, needed: tuple[int, int] | None, package: str | None) -> Finding:
    """Whether the C library is as new as a wheel needs it; a compute node can be older than where pip ran.

    Args:
        version: that of glibc here; empty where the C library is another.
        needed: the newest version that a wheel requires; None if none does.
        package: which wheel.
    """
    if not version:
        return warn(
            "glibc", "the C library is not glibc", "the wheels of torch and ScaNN are built for glibc (not musl)"
        )
    if needed is None or package is None:
        return ok("glibc", version)
    wanted = f"{needed[0]}.{needed[1]}"
    if tuple(map(int, version.split(".")[:2])) >= needed:
        return ok("glibc", f"{version} (the wheel of {package} needs {wanted})")
    where = "run on nodes with a newer system, or in a container (slurm.container_image)"
    return fail("glibc", f"{version}, but the wheel of {package} needs {wanted}", where)


def newest_glibc_of_wheels() -> tuple[tuple[int, int] | None, str | None]:
    """The newest glibc that an installed wheel was built for (its tag manylinux_X_Y), and which wheel that is."""
    found: list[tuple[tuple[int, int], str]] = []
    for distribution in importlib.metadata.distributions():
        # A wheel with several tags runs on the oldest of them.
        tags = re.findall(r"manylinux_(\d+)_(\d+)_", distribution.read_text("WHEEL") or "")
        if tags:
            found.append((min((int(major), int(minor)) for major, minor in tags), distribution.metadata["Name"]))
    return max(found) if found else (None, None)


def _architecture(subject: Subject) -> Finding:
    machine = f"{platform.system()} {platform.machine()}"
    scann = subject.recipe is None or subject.recipe.neighbors.engine == "scann"
    if machine in ("Linux x86_64", "Linux aarch64") or not scann:
        return ok("architecture", machine)
    remedy = "neighbors.engine=exact"
    text = f"{machine}; ScaNN is for Linux on x86_64 and aarch64"
    return warn("architecture", text, remedy) if subject.recipe is None else fail("architecture", text, remedy)


def _metadata() -> tuple[str, list[Requirement]] | None:
    """`python_requires` and `install_requires` of setup.py, from the installed package."""
    try:
        about = importlib.metadata.metadata(PACKAGE)
        return about["Requires-Python"], [Requirement(line) for line in importlib.metadata.requires(PACKAGE) or []]
    except importlib.metadata.PackageNotFoundError:
        return None
