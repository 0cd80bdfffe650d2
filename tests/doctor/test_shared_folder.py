"""One folder on all nodes, and locks that hold between them; the ranks are threads here and meet in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from megatron_sbp.base.processes import held_port
from megatron_sbp.doctor.meeting import Attendance, Meeting
from megatron_sbp.doctor.place import Place
from megatron_sbp.doctor.shared_folder import compare_folders

NODES = Attendance(["a", "a", "b", "c"], [False] * 4)
LEADERS = (0, 2, 3)


@pytest.fixture
def meetings() -> Iterator[dict[int, Meeting]]:
    """The first ranks of three nodes."""
    with held_port() as port:
        yield {
            rank: Meeting(Place(rank, 4, NODES.nodes[rank], True, "127.0.0.1", port, rank == 0), 60) for rank in LEADERS
        }


def test_nodes_that_see_one_folder_exclude_each_other(meetings, tmp_path):
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda rank: compare_folders(meetings[rank], NODES, tmp_path, 60), LEADERS))
    assert found[1:] == [None, None], "only rank 0 reports"
    assert (found[0].status, found[0].text) == ("ok", f"3 nodes see {tmp_path} and exclude each other by flock")
    assert not list(tmp_path.iterdir())


def test_nodes_exclude_each_other_on_nfs(meetings, tmp_path, locks_of_nfs):
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda rank: compare_folders(meetings[rank], NODES, tmp_path, 60), LEADERS))
    assert found[0].status == "ok", found[0]


def test_a_node_that_sees_another_folder_and_one_that_is_silent_are_named(meetings, tmp_path):
    meetings[2].tell("saw/2", "does not see a file there")
    finding = compare_folders(meetings[0], NODES, tmp_path, 0.5)
    assert finding.status == "fail" and finding.text == f"{tmp_path}: b does not see a file there; c gave no answer"
    assert "run_folder must be on a file system that all nodes share" in finding.remedy


def test_a_folder_that_rank_0_cannot_write_keeps_nobody_waiting(meetings, tmp_path):
    finding = compare_folders(meetings[0], NODES, tmp_path / "gone", 60)
    assert finding.status == "fail" and finding.text == f"no lock in {tmp_path}/gone: No such file or directory"
    assert compare_folders(meetings[2], NODES, tmp_path, 60) is None
    assert meetings[0].hear("saw/2", 0.05) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "gets a lock that another node holds"),
        ("gone", "does not see a file there"),
        ("folder", "cannot open a file there (Is a directory)"),
    ],
)
def test_what_another_node_may_see(meetings, tmp_path, name, said):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    meetings[0].tell("locked file", str(tmp_path / name))
    assert compare_folders(meetings[2], NODES, tmp_path, 60) is None
    assert meetings[0].hear("saw/2", 60) == said
