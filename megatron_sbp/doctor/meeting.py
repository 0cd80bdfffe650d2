"""How ranks find each other and report to rank 0: a key-value store, with a limit on every wait."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.doctor.place import Place

SLACK = 10.0
"""How many seconds later than rank 0 other ranks may notice the same."""


class Absent(Exception):
    """Some ranks did not arrive; the message says which."""


@dataclass(frozen=True)
class Attendance:
    """The ranks that arrived: by rank, the node's name and whether it sees a CUDA device."""

    nodes: list[str]
    cuda: list[bool]

    def index_on_node(self, rank: int) -> int:
        """The number of a rank on its node, from 0."""
        return self.nodes[:rank].count(self.nodes[rank])

    def leaders(self) -> list[int]:
        """The first rank of every node."""
        return sorted(self.nodes.index(node) for node in set(self.nodes))


class Meeting:
    """The store of one `sbp doctor` on several ranks.

    Args:
        place: this rank.
        seconds: how long it waits for others.

    Raises:
        Absent: rank 0 does not answer.
    """

    def __init__(self, place: Place, seconds: float):
        import torch.distributed as dist

        self.place, self.seconds = place, seconds
        try:
            self.store = dist.PrefixStore(
                "sbp-doctor",
                dist.TCPStore(
                    place.address,
                    place.port,
                    is_master=place.serves,
                    timeout=timedelta(seconds=seconds),
                    wait_for_workers=False,
                ),
            )
        except RuntimeError as error:  # DistStoreError and DistNetworkError among them
            where = f"{place.address}:{place.port}"
            what = f"cannot listen on {where}" if place.serves else f"rank 0 did not answer on {where} in {seconds:g} s"
            raise Absent(f"{what} ({str(error).splitlines()[0][:160]})") from error

    def attend(self, cuda: bool) -> Attendance:
        """Reports that this rank has arrived, and waits for all others.

        Raises:
            Absent: not all ranks arrived.
        """
        self.tell(f"here/{self.place.rank}", {"node": self.place.node, "cuda": cuda})
        if self.place.rank == 0:
            self.tell("all", self._count())
        found = self.hear("all", self.seconds + SLACK)
        if found is None:
            raise Absent(f"rank 0 was silent for {self.seconds + SLACK:g} s")
        missing = [rank for rank, entry in enumerate(found) if entry is None]
        if missing:
            raise Absent(self._absence(missing, found))
        return Attendance([entry["node"] for entry in found], [entry["cuda"] for entry in found])

    def _count(self) -> list[JsonObject | None]:
        """What every rank reported, None for those that did not arrive."""
        end, waiting = time.monotonic() + self.seconds, list(range(self.place.size))
        while waiting and time.monotonic() < end:
            waiting = [rank for rank in waiting if not self.store.check([f"here/{rank}"])]
            time.sleep(0.05)
        here = set(range(self.place.size)) - set(waiting)
        return [self.hear(f"here/{rank}", self.seconds) if rank in here else None for rank in range(self.place.size)]

    def _absence(self, missing: list[int], found: list[JsonObject | None]) -> str:
        nodes = Counter(entry["node"] for entry in found if entry)
        here = ", ".join(f"{count} on {node}" for node, count in sorted(nodes.items())[:16])
        ranks = ", ".join(map(str, missing[:16])) + (", ..." if len(missing) > 16 else "")
        one = len(missing) == 1
        said = f"rank{'' if one else 's'} {ranks} of {self.place.size}"
        return f"{said} did not arrive in {self.seconds:g} s; present are {here}"

    def tell(self, key: str, value: object) -> None:
        """Publishes a value; it is lost if rank 0 has given up."""
        with contextlib.suppress(RuntimeError):
            self.store.set(key, json.dumps(value))

    def hear(self, key: str, seconds: float) -> JsonValue:
        """A value that some rank publishes; None when it does not in time."""
        try:
            self.store.wait([key], timedelta(seconds=seconds))
            return json.loads(self.store.get(key))
        except RuntimeError:  # a timeout, or the rank that held the store has ended
            return None

    def hear_all(self, prefix: str, ranks: Iterable[int], seconds: float) -> dict[int, JsonValue]:
        """Values that ranks publish under PREFIX/RANK; None of those that do not, all within one time."""
        end = time.monotonic() + seconds
        return {rank: self.hear(f"{prefix}/{rank}", max(0.01, end - time.monotonic())) for rank in ranks}
