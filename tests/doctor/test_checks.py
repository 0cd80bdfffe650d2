"""All checks one after another, whatever one of them does."""

from __future__ import annotations

from megatron_sbp.doctor import checks
from megatron_sbp.doctor.checks import examine
from megatron_sbp.doctor.subject import Subject


def test_a_check_that_breaks_down_stops_no_other(monkeypatch):
    def check_broken(subject):
        yield from ()
        raise KeyError("surprise")

    monkeypatch.setattr(checks, "CHECKS", (check_broken, checks.check_torch))
    broken, torch = examine(Subject())
    assert broken.status == "fail" and broken.check == "broken" and "surprise" in broken.text and torch.status == "ok"
