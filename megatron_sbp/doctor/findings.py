"""The findings of a check: one line each, with a remedy if something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from megatron_sbp.base.errors import printable
from megatron_sbp.base.untyped import JsonObject

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The answer of a check.

    Attributes:
        check: what was checked, in a word or two.
        status: `ok`; `warn`: works, but slower or not everywhere; `fail`: a run would stop.
        text: what was found, with numbers.
        remedy: what to do; only with `warn` and `fail`.
        node: the machine, where several were examined.
    """

    check: str
    status: Status
    text: str
    remedy: str = ""
    node: str = ""

    def __str__(self) -> str:
        place = f"{self.node}: " if self.node else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return printable(" ".join(f"{self.status:4}  {self.check:20}{place}{self.text}{remedy}".splitlines()))


def ok(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """It works, but not as well as it could, or not everywhere."""
    return Finding(check, "warn", text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """A run would stop."""
    return Finding(check, "fail", text, remedy)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether any of them is a failure."""
    return any(finding.status == "fail" for finding in findings)


def as_json(findings: list[Finding]) -> JsonObject:
    """For programs: `failed`, and `checks` with the fields of every finding."""
    return {"failed": failed(findings), "checks": [asdict(finding) for finding in findings]}
