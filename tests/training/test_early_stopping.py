"""When tuning stops, and which checkpoint is kept."""

from __future__ import annotations

from megatron_sbp.training.early_stopping import best, exhausted


def rows(*losses: float) -> list[dict]:
    """Validation rows at iterations 0, 10, 20, ... with training rows between them."""
    found = []
    for place, loss in enumerate(losses):
        found.append({"kind": "valid", "iteration": 10 * place, "loss": loss})
        found.append({"kind": "train", "iteration": 10 * place + 5, "loss": 0.0})
    return found


def test_the_best_is_the_lowest_after_the_first_step():
    assert best(rows(1.0, 3.0, 2.0, 2.0, 2.5))["iteration"] == 20


def test_patience_counts_evaluations_without_a_better_loss():
    assert not exhausted(rows(4.0, 3.0), 2)
    assert not exhausted(rows(4.0, 3.0, 3.1), 2)
    assert exhausted(rows(4.0, 3.0, 3.1, 3.0), 2)
    assert not exhausted(rows(4.0, 3.0, 3.1, 2.9), 2)
    assert not exhausted(rows(4.0, 3.0, 3.1, 3.2), 3)


def test_the_loss_before_the_first_step_counts_as_one_to_beat():
    assert exhausted(rows(3.0, 3.5, 3.4), 2)


def test_a_loss_that_is_not_a_number_is_worse_than_any():
    nan = float("nan")
    assert best(rows(9.0, nan, 3.0, nan))["iteration"] == 20
    assert best(rows(nan, nan, nan))["iteration"] == 10
    assert exhausted(rows(nan, 3.0, nan, nan), 2)
    assert not exhausted(rows(nan, nan, 3.0), 2)
