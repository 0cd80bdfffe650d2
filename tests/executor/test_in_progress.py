"""Work in progress: a damaged note belongs to nothing, and time between two calls does not count."""

from __future__ import annotations

import json

from megatron_sbp.executor.in_progress import started_note, worked


def test_a_note_of_work_in_progress(tmp_path):
    assert started_note(tmp_path) is None
    for text, found in ((json.dumps({"key": "k"}), {"key": "k"}), ("{", {}), ("[1]", {}), ("", {})):
        (tmp_path / "started.json").write_text(text)
        assert started_note(tmp_path) == found


def test_time_with_work_on_units():
    units = [{"started": 0.0, "seconds": 10.0}, {"started": 5.0, "seconds": 2.0}, {"started": 100.0, "seconds": 1.5}]
    assert worked(units) == worked(units[::-1]) == 11.5 and worked([]) == 0


def test_work_before_an_interruption_counts_without_the_pause():
    resumed = {"started": 100.0, "seconds": 5.0, "earlier_seconds": 20.0}
    assert worked([resumed]) == 25 and worked([resumed, {"started": 78.0, "seconds": 4.0}]) == 27
