"""Quotas of the user and the group on the file system of the run folder, by the tool of its kind."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.planning.numbers import format_bytes, format_count

MORE = "free some space, or choose another run_folder"

_MOUNTS = Path("/proc/self/mounts")
_OF_GPFS = "/usr/lpp/mmfs/bin"
"""Where GPFS puts its tools; often not on PATH."""

_LFS_ROW = re.compile(r"\[?(\d+)\]?\*?\s+(\d+)\s+(\d+)\s+(\S+)\s+\[?(\d+)\]?\*?\s+(\d+)\s+(\d+)\s+(\S+)")
"""kilobytes, quota, limit, grace, and the same of files; used figures have a star when above the quota, and brackets
when some servers did not answer."""


@dataclass(frozen=True)
class Quota:
    """What is used and allowed: bytes, or files; 0 allows any number."""

    used: int
    soft: int
    hard: int

    @property
    def allowed(self) -> int:
        """The lower limit: above the soft one, writing fails after a week or so."""
        return min((limit for limit in (self.soft, self.hard) if limit), default=0)


def check_quota(
    folder: Path, needed: tuple[float, float] | None, begun: bool = False, mounts: Path = _MOUNTS
) -> Iterator[Finding]:
    """Findings about the quotas of the file system of a folder.

    Args:
        folder: must exist.
        needed: bytes and files of the run; None where they are not known.
        begun: whether a part of them may be there already.
        mounts: mounted file systems, as the kernel lists them.
    """
    device, point, kind = mount_of(folder, mounts)
    quotas: Callable[[str, str], tuple[Quota, Quota]]
    if kind == "lustre":
        tool = shutil.which("lfs")

        def quotas(flag: str, name: str) -> tuple[Quota, Quota]:
            return lustre_quotas(_output([str(tool), "quota", "-q", flag, name, point]))
    elif kind == "gpfs":
        tool = shutil.which("mmlsquota", path=f"{os.environ.get('PATH', '')}:{_OF_GPFS}")

        def quotas(flag: str, name: str) -> tuple[Quota, Quota]:
            return gpfs_quotas(_output([str(tool), "-Y", flag, name, device.removeprefix("/dev/")]))
    else:
        yield _by_quota_tool()
        return
    if tool is None:
        yield warn("quota", f"{point} is {kind}, but its tool is not here", "ask for the quota on a login node")
        return
    for flag, who, name in (("-u", "user", _user()), ("-g", "group", _group(folder))):
        try:
            found = quotas(flag, name)
        except ValueError as error:
            yield warn("quota", f"of {who} {name} on {point}: {error}", "ask for it by hand")
            continue
        yield from _against(f"{who} {name}", found, needed, begun)


def mount_of(folder: Path, mounts: Path = _MOUNTS) -> tuple[str, str, str]:
    """Device, mount point and type of the file system of a folder; empty where they are not known."""
    best = ("", "", "")
    real = folder.resolve()
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        device, point, kind = (
            re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), word) for word in line.split()[:3]
        )
        if real.is_relative_to(point) and len(point) >= len(best[1]):  # the last one hides those before it
            best = device, point, kind
    return best


def lustre_quotas(text: str) -> tuple[Quota, Quota]:
    """Bytes and files from what `lfs quota` prints; a long name of the file system has a line of its own.

    Raises:
        ValueError: there are none in it.
    """
    row = _LFS_ROW.search(" ".join(line for line in text.splitlines() if not line.startswith("Disk quotas")))
    if row is None:
        raise ValueError(f"`lfs quota` printed no quota: {text.strip()[:200]!r}")
    kilobytes = [1024 * int(row[place]) for place in (1, 2, 3)]
    return Quota(*kilobytes), Quota(*(int(row[place]) for place in (5, 6, 7)))


def gpfs_quotas(text: str) -> tuple[Quota, Quota]:
    """The same from what `mmlsquota -Y` prints: rows of fields, named by a row before them; sizes in kilobytes.

    Of several filesets the one that is nearest to its limit counts.

    Raises:
        ValueError: there are none in it.
    """
    names: list[str] = []
    rows: list[dict[str, str]] = []
    for line in text.splitlines():
        words = [unquote(word) for word in line.split(":")]
        if "HEADER" in words[:3]:
            names = words
        elif names:
            rows.append(dict(zip(names, words, strict=False)))
    try:
        blocks = [Quota(*(1024 * int(row[f"block{name}"]) for name in ("Usage", "Quota", "Limit"))) for row in rows]
        files = [Quota(*(int(row[f"files{name}"]) for name in ("Usage", "Quota", "Limit"))) for row in rows]
    except KeyError as error:
        raise ValueError(f"`mmlsquota` printed no {error}") from error
    if not rows:
        raise ValueError(f"`mmlsquota` printed no quota: {text.strip()[:200]!r}")
    return _tightest(blocks), _tightest(files)


def _tightest(quotas: Sequence[Quota]) -> Quota:
    limited = [quota for quota in quotas if quota.allowed]
    return min(limited, key=lambda quota: quota.allowed - quota.used) if limited else quotas[0]


def _against(
    whose: str, found: tuple[Quota, Quota], needed: tuple[float, float] | None, begun: bool
) -> Iterator[Finding]:
    for place, (what, form) in enumerate((("bytes", format_bytes), ("files", format_count))):
        quota = found[place]
        if not quota.allowed:
            yield ok("quota", f"{whose}: no limit on {what}")
            continue
        text = f"{whose}: {form(quota.used)} of {form(quota.allowed)}{'' if what == 'bytes' else ' files'} used"
        if quota.used >= quota.allowed:
            yield fail("quota", f"{text}: exceeded", MORE)
        elif needed is None or quota.allowed - quota.used >= needed[place]:
            yield ok("quota", text)
        else:
            text += f"; the run needs about {form(needed[place])}"
            yield warn("quota", f"{text}, what its folder holds included", MORE) if begun else fail("quota", text, MORE)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in some containers; the tools take numbers, too
        return str(os.geteuid())


def _group(folder: Path) -> str:
    """The group that a new file in the folder gets."""
    there = folder.stat()
    group = there.st_gid if there.st_mode & stat.S_ISGID else os.getegid()
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def _output(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"`{Path(command[0]).name}` gave no answer in 20 s") from error
    except OSError as error:
        raise ValueError(f"`{Path(command[0]).name}` does not run: {error.strerror}") from error
    if answer.returncode:
        raise ValueError(f"`{Path(command[0]).name}` failed: {answer.stderr.strip()}")
    return answer.stdout


def _by_quota_tool() -> Finding:
    """Whether the user is over a quota, by the tool `quota`."""
    if shutil.which("quota") is None:
        return ok("quota", "no `quota` tool here")
    try:
        answer = subprocess.run(["quota", "-q"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return warn("quota", "`quota` gave no answer in 20 s", "a mounted file system may hang: `df`")
    lines = answer.stdout.strip().splitlines()
    if answer.returncode and lines:
        return fail("quota", f"exceeded: {lines[-1].strip()}", MORE)
    if answer.returncode:
        return warn("quota", f"`quota` failed: {answer.stderr.strip()}", "ask for it by hand")
    return ok("quota", "not exceeded")
