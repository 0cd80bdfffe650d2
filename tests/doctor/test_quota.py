"""Quotas by the tools of Lustre and GPFS: programs on PATH that answer as these do, since no test can mount either."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from megatron_sbp.doctor.quota import Quota, check_quota, gpfs_quotas, lustre_quotas, mount_of

USER = pwd.getpwuid(os.geteuid()).pw_name
LFS = """\
Disk quotas for usr me (uid 1000):
      Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
   /lustre/a-long-name-of-a-file-system
                {used}  1000000000 2000000000  {grace}  {files}       0   50000       -
uid 1000 is using default block quota setting
"""
GPFS = (
    "mmlsquota::HEADER:version:reserved:reserved:filesystemName:quotaType:id:name:blockUsage:blockQuota:blockLimit:"
    "blockInDoubt:blockGrace:filesUsage:filesQuota:filesLimit:filesInDoubt:filesGrace:remarks:quota:defQuota:fid:"
    "filesetname:\n"
    "mmlsquota::0:1:::gpfs0:USR:1000:me:500000000:0:1000000000:0:none:1000:20000:30000:0:none::on:off:0:root:\n"
    "mmlsquota::0:1:::gpfs0:USR:1000:me:900000000:0:1000000000:0:none:5:0:0:0:none::on:off:1:own%3Aset:\n"
)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a tool on PATH, which holds nothing else but what a shell needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, output: str, status: int = 0) -> Path:
        (tmp_path / "answer").write_text(output)
        asked = tmp_path / "asked"
        (folder / name).write_text(
            f"#!/bin/sh\necho \"$@\" >> '{asked}'\n"
            f"while IFS= read -r line; do echo \"$line\"; done < '{tmp_path}/answer'\nexit {status}\n"
        )
        (folder / name).chmod(0o755)
        return asked

    return put


def mounts(tmp_path: Path, kind: str) -> Path:
    file = tmp_path / "mounts"
    file.write_text(f"/dev/root / ext4 rw 0 0\n/dev/gpfs0 {tmp_path} {kind} rw 0 0\n/dev/x {tmp_path}-2 xfs rw 0 0\n")
    return file


def test_the_file_system_of_a_folder(tmp_path):
    (tmp_path / "with space").mkdir()
    file = mounts(tmp_path, "lustre")
    assert mount_of(tmp_path / "with space", file) == ("/dev/gpfs0", str(tmp_path), "lustre")
    assert mount_of(Path("/usr"), file)[2] == "ext4"
    file.write_text(file.read_text() + f"none {tmp_path}/with\\040space tmpfs rw 0 0\n")
    assert mount_of(tmp_path / "with space", file)[2] == "tmpfs"


def test_what_lfs_prints():
    blocks, files = lustre_quotas(LFS.format(used="500000000", grace="-", files=40_000))
    assert blocks == Quota(500_000_000 << 10, 1_000_000_000 << 10, 2_000_000_000 << 10)
    assert files == Quota(40_000, 0, 50_000) and files.allowed == 50_000 and blocks.allowed == 1_000_000_000 << 10
    over, _ = lustre_quotas(LFS.format(used="[1500000000]*", grace="5d23h59m", files="3*"))
    assert over.used == 1_500_000_000 << 10
    with pytest.raises(ValueError, match="printed no quota"):
        lustre_quotas("Unable to resolve mount point\n")


def test_what_mmlsquota_prints():
    """The second fileset has less room for bytes, the first one alone a limit on files."""
    blocks, files = gpfs_quotas(GPFS)
    assert blocks == Quota(900_000_000 << 10, 0, 1_000_000_000 << 10) and files == Quota(1000, 20_000, 30_000)
    for text in ("", GPFS.splitlines()[0], GPFS.replace("filesUsage", "other")):
        with pytest.raises(ValueError, match="printed no"):
            gpfs_quotas(text)


@pytest.mark.parametrize(
    ("used", "files", "needed", "begun", "statuses"),
    [
        (10, 10, None, False, ["ok", "ok"]),
        (10, 10, (1e12, 40_000), False, ["ok", "ok"]),
        (10, 10, (2e12, 60_000), False, ["fail", "fail"]),
        (10, 10, (2e12, 40_000), True, ["warn", "ok"]),
        (1_500_000_000, 50_000, None, True, ["fail", "fail"]),
    ],
)
def test_lustre(tmp_path, tool, used, files, needed, begun, statuses):
    asked = tool("lfs", LFS.format(used=used, grace="-", files=files))
    found = list(check_quota(tmp_path, needed, begun, mounts(tmp_path, "lustre")))
    assert [finding.status for finding in found] == statuses * 2  # of the user, of the group
    calls = asked.read_text().splitlines()
    assert calls[0] == f"quota -q -u {USER} {tmp_path}" and calls[1].startswith("quota -q -g ")
    assert found[0].text.startswith(f"user {USER}: ") and found[2].text.startswith("group ")
    assert " of 1.02 TB used" in found[0].text and " of 50k files used" in found[1].text


def test_gpfs(tmp_path, tool):
    asked = tool("mmlsquota", GPFS)
    found = list(check_quota(tmp_path, (2e11, 1000), False, mounts(tmp_path, "gpfs")))
    assert [finding.status for finding in found] == ["fail", "ok"] * 2
    assert "922 GB of 1.02 TB used; the run needs about 200 GB" in found[0].text
    assert asked.read_text().splitlines()[0] == f"-Y -u {USER} gpfs0"


def test_the_group_is_that_of_new_files(tmp_path, tool):
    asked = tool("lfs", LFS.format(used=1, grace="-", files=1))
    folder = tmp_path / "shared"
    folder.mkdir()
    list(check_quota(folder, None, False, mounts(tmp_path, "lustre")))
    others = next((group for group in os.getgroups() if group != os.getegid()), None)
    if os.geteuid() == 0 or others is not None:
        os.chown(folder, -1, 60_123 if others is None else others)
        folder.chmod(0o2755)
        list(check_quota(folder, None, False, mounts(tmp_path, "lustre")))
        calls = asked.read_text().splitlines()
        assert calls[1] != calls[3] and calls[0] == calls[2]


def test_tools_that_are_missing_or_fail(tmp_path, tool):
    for kind, name in (("lustre", "lfs"), ("gpfs", "mmlsquota")):
        file = mounts(tmp_path, kind)
        [finding] = check_quota(tmp_path, None, False, file)
        assert finding.status == "warn" and f"is {kind}, but its tool is not here" in finding.text
        tool(name, "", 1)
        assert [finding.status for finding in check_quota(tmp_path, None, False, file)] == ["warn", "warn"]


@pytest.mark.parametrize(
    "script, status, words",
    [
        ("exit 0", "ok", "not exceeded"),
        ("echo 'Disk quotas for user me:'; echo '  /home  block limit reached'; exit 1", "fail", "block limit reached"),
        ("echo 'no such user' >&2; exit 1", "warn", "no such user"),
    ],
)
def test_other_file_systems(tmp_path, monkeypatch, script, status, words):
    tool = tmp_path / "quota"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [finding] = check_quota(tmp_path, None, False, mounts(tmp_path, "ext4"))
    assert finding.status == status and words in finding.text


def test_no_quota_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [finding.status for finding in check_quota(tmp_path, None, False, mounts(tmp_path, "ext4"))] == ["ok"]
