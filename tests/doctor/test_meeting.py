"""Ranks that meet in a store, each of them a thread; no wait is without an end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from megatron_sbp.base.processes import held_port
from megatron_sbp.doctor.meeting import Absent, Attendance, Meeting
from megatron_sbp.doctor.place import Place


def place(rank: int, size: int, port: int, node: str = "a") -> Place:
    return Place(rank, size, node, rank == 0, "127.0.0.1", port, rank == 0)


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as port:
        yield port


def attend(ranks: list[Meeting], cuda: list[bool]) -> list[Attendance]:
    with ThreadPoolExecutor(len(ranks)) as threads:
        return list(threads.map(Meeting.attend, ranks, cuda))


def test_everyone_learns_who_is_here(port):
    ranks = [Meeting(place(rank, 4, port, node), 60) for rank, node in enumerate("abba")]
    found = attend(ranks, [True, True, False, True])
    assert found == [Attendance(["a", "b", "b", "a"], [True, True, False, True])] * 4


def test_the_first_of_every_node_and_the_number_on_it():
    attendance = Attendance(["b", "a", "a", "b", "c", "a"], [False] * 6)
    assert attendance.leaders() == [0, 1, 4]
    assert [attendance.index_on_node(rank) for rank in range(6)] == [0, 0, 1, 1, 0, 2]


def test_all_are_told_who_did_not_come(port):
    first, other = (Meeting(place(rank, 5, port, node), 0.5) for rank, node in ((0, "a"), (3, "b")))
    other.tell("here/3", {"node": "b", "cuda": False})
    for rank in (first, other):
        with pytest.raises(Absent) as found:
            rank.attend(False)
        assert str(found.value) == "ranks 1, 2, 4 of 5 did not arrive in 0.5 s; present are 1 on a, 1 on b"


@pytest.mark.parametrize(
    ("size", "said"), [(2, "rank 1 of 2"), (18, f"ranks {', '.join(map(str, range(1, 17)))}, ... of 18")]
)
def test_one_who_is_missing_and_very_many(port, size, said):
    with pytest.raises(Absent, match="did not arrive") as found:
        Meeting(place(0, size, port), 0.2).attend(False)
    assert str(found.value).startswith(f"{said} did not arrive in 0.2 s; present are 1 on a")


def test_a_value_is_heard_by_everyone_who_asks(port):
    first, second = (Meeting(place(rank, 2, port), 60) for rank in range(2))
    second.tell("found/1", [{"check": "torch", "text": "ü"}])
    assert first.hear("found/1", 60) == second.hear("found/1", 60) == [{"check": "torch", "text": "ü"}]
    second.tell("reason", "")
    assert first.hear("reason", 60) == "", "an empty answer is one"


def test_one_who_waits_hears_what_is_told_later(port):
    first, second = (Meeting(place(rank, 2, port), 60) for rank in range(2))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(first.hear, "late", 60)
        second.tell("late", 5)
        assert waiting.result() == 5


def test_what_nobody_tells_is_none_after_a_while(port):
    meeting = Meeting(place(0, 3, port), 60)
    meeting.tell("saw/2", "locked")
    assert meeting.hear("nothing", 0.1) is None
    assert meeting.hear_all("saw", [2, 1], 0.5) == {1: None, 2: "locked"}


def test_a_port_that_someone_else_has():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Absent, match=rf"cannot listen on 127.0.0.1:{port} \("):
            Meeting(place(0, 2, port), 1)


@pytest.mark.slow
def test_a_rank_0_that_does_not_answer(port):
    with pytest.raises(Absent, match=rf"rank 0 did not answer on 127.0.0.1:{port} in 0.5 s \("):
        Meeting(place(1, 2, port), 0.5)


def test_a_rank_0_that_is_gone_ends_every_wait(port):
    first, second = (Meeting(place(rank, 2, port), 60) for rank in range(2))
    del first.store
    assert second.hear("anything", 60) is None
    second.tell("anything", 1)  # to nobody
