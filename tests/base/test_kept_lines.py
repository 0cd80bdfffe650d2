"""Few lines are all kept, of many the first and the last."""

from __future__ import annotations

from megatron_sbp.base.kept_lines import FirstAndLast


def test_the_first_and_the_last_are_kept_in_order():
    lines = FirstAndLast(3)
    assert list(lines) == []
    lines.extend("ab")
    assert list(lines) == ["a", "b"]
    lines.extend("cdef")
    assert list(lines) == ["a", "b", "c", "d", "e", "f"]
    lines.extend("ghi")
    assert list(lines) == ["a", "b", "c", "g", "h", "i"]
