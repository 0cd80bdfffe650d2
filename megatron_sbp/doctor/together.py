"""`sbp doctor` on several ranks: every node is examined, the ranks run an all-reduce, and rank 0 reports."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, replace

from megatron_sbp.doctor.all_reduce import BYTES, bus_bandwidth, run_all_reduce
from megatron_sbp.doctor.checks import examine
from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.meeting import Absent, Attendance, Meeting
from megatron_sbp.doctor.place import Place
from megatron_sbp.doctor.shared_folder import compare_folders
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes

CHECK = "all-reduce"
SLOW = 10e9
"""Bytes/s between nodes with NCCL below which it is unlikely to use InfiniBand or the like."""


def examine_together(subject: Subject, place: Place, seconds: float) -> list[Finding]:
    """What this rank has to report: rank 0 everything, the others nothing.

    Without rank 0 the first rank of every node reports what it found itself.

    Args:
        subject: what is examined.
        place: this rank.
        seconds: how long one step may wait for other ranks.
    """
    try:
        meeting = Meeting(place, seconds)
        attendance = meeting.attend(_cuda(subject))
    except Absent as absent:
        remedy = "make sure that every rank starts, and that nodes reach each other (firewall, host names)"
        mine = [fail(CHECK, str(absent), remedy)]
        return [*examine(subject), *mine] if place.rank == 0 or (place.first_here and _nobody(absent)) else []
    leaders = attendance.leaders()
    together = _add_up(meeting, attendance, seconds)
    if place.rank not in leaders:
        return []
    if len(leaders) > 1:
        shared = compare_folders(meeting, attendance, subject.folder, seconds)
        together += [shared] if shared else []
    own = list(examine(subject))
    if place.rank != 0:
        meeting.tell(f"found/{place.rank}", [asdict(finding) for finding in own])
        return []
    return [*_merged(meeting, attendance, own, seconds), *together]


def _nobody(absent: Absent) -> bool:
    return "rank 0" in str(absent)


def _cuda(subject: Subject) -> bool:
    if not subject.wants_gpu or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _add_up(meeting: Meeting, attendance: Attendance, seconds: float) -> list[Finding]:
    """The all-reduce; rank 0 gets the finding."""
    place = meeting.place
    backend = "nccl" if all(attendance.cuda) else "gloo"
    taken, reason = run_all_reduce(place, attendance, backend, seconds)
    if place.rank != 0:
        meeting.tell(f"added/{place.rank}", reason)
        return []
    answers = {0: reason, **meeting.hear_all("added", range(1, place.size), 2 * seconds)}
    wrong = {rank: "gave no answer" if text is None else text for rank, text in answers.items() if text != ""}
    ranks = f"{place.size} ranks on {len(attendance.leaders())} node{'s' if len(attendance.leaders()) > 1 else ''}"
    if wrong:
        said = "; ".join(f"rank {rank} ({attendance.nodes[rank]}): {text}" for rank, text in list(wrong.items())[:4])
        remedy = (
            "NCCL_DEBUG=INFO, NCCL_SOCKET_IFNAME" if backend == "nccl" else "GLOO_SOCKET_IFNAME names the interface"
        )
        return [fail(CHECK, f"over {backend}, {ranks}: {said}", remedy)]
    rate = bus_bandwidth(BYTES[backend], taken, place.size)
    speed = f"{format_bytes(BYTES[backend])} in {1000 * taken:.3g} ms, {format_bytes(rate)}/s per link"
    text = f"{ranks} over {backend}: {speed}"
    if backend == "gloo" and any(attendance.cuda):
        blind = attendance.nodes[attendance.cuda.index(False)]
        return [
            warn(CHECK, f"{text}; not over NCCL, because {blind} sees no CUDA device", "--gpus-per-node for every node")
        ]
    if backend == "nccl" and len(attendance.leaders()) > 1 and rate < SLOW:
        return [warn(CHECK, text, "NCCL_DEBUG=INFO shows whether it goes over sockets instead of InfiniBand")]
    return [ok(CHECK, text)]


def _merged(meeting: Meeting, attendance: Attendance, own: list[Finding], seconds: float) -> list[Finding]:
    """Rank 0's findings, each followed by the problems of other nodes."""
    leaders = attendance.leaders()
    others: list[Finding] = []
    for rank, found in meeting.hear_all("found", leaders[1:], 2 * seconds).items():
        node = attendance.nodes[rank]
        if found is None:
            others.append(replace(fail("node", "gave no answer", "check it, or leave it out: --exclude"), node=node))
            continue
        mine = set(own)
        entries = [Finding(**entry) for entry in found]
        others += [replace(entry, node=node) for entry in entries if entry.status != "ok" and entry not in mine]
    nodes = f"{len(leaders)} nodes examined; lines without a name are from {attendance.nodes[0]}"
    return [*own, *others, *([ok("nodes", nodes)] if len(leaders) > 1 else [])]
