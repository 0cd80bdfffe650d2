"""Numbers of tasks as text."""

from __future__ import annotations

import pytest

from megatron_sbp.executor.task_numbers import ranges_of, shown


@pytest.mark.parametrize(
    ("tasks", "text"),
    [([], ""), ([7], "7"), ([1, 2, 3, 4, 7], "1-4,7"), ([1, 3, 4, 9], "1,3-4,9"), (range(1, 1001), "1-1000")],
)
def test_runs_of_tasks_are_told_by_their_ends(tasks, text):
    assert ranges_of(tasks) == text


def test_a_person_is_shown_a_line_of_them_at_most():
    assert shown(range(1, 6048)) == "1-6047" and shown([1, 3]) == "1,3"
    many = shown(range(1, 6048, 2))
    assert many.startswith("1,3,5,7,") and many.endswith(", ...") and len(many) < 110
