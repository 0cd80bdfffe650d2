"""Which checkpoint a training goes on from, after every kind of interruption."""

from __future__ import annotations

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker


def test_tracker(tmp_path):
    assert tracker.read(tmp_path) is None
    (tmp_path / tracker.NAME).write_text("")
    assert tracker.read(tmp_path) is None and not (tmp_path / tracker.NAME).exists()
    for iteration in (3, 12):
        (tmp_path / f"iter_{iteration:07d}").mkdir()
    (tmp_path / "iter_0000003" / "metadata.json").write_text("{}")
    (tmp_path / tracker.NAME).write_text("3")
    assert tracker.read(tmp_path) == 3 and tracker.complete(tmp_path) == [3]
    for text, message in (("12", "names iteration 12"), ("x", "not an iteration")):
        (tmp_path / tracker.NAME).write_text(text)
        with pytest.raises(InputError, match=message):
            tracker.read(tmp_path)
