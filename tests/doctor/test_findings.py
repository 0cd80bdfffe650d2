"""A finding is one line, and programs get the same."""

from __future__ import annotations

from megatron_sbp.doctor.findings import as_json, fail, failed, ok, warn


def test_one_line_each_with_what_to_do():
    lines = [
        str(entry) for entry in (ok("a", "well"), warn("b", "slow", "buy"), fail("c", "gone\nfor good", "find it"))
    ]
    assert [line.split()[0] for line in lines] == ["ok", "warn", "fail"]
    assert lines[1].endswith("slow -> buy") and "\n" not in lines[2] and "for good -> find it" in lines[2]


def test_only_a_failure_fails():
    assert not failed([ok("a", ""), warn("b", "", "x")]) and failed([ok("a", ""), fail("c", "", "x")])


def test_json_has_every_field():
    found = as_json([warn("b", "slow", "buy")])
    assert found == {
        "failed": False,
        "checks": [{"check": "b", "status": "warn", "text": "slow", "remedy": "buy", "node": ""}],
    }
