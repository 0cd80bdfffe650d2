"""What is quoted of an arm: its one training, or the means over its replicates."""

from __future__ import annotations

from megatron_sbp.report.means import quoted


def test_one_training_is_quoted_as_it_is():
    arm = {"test_loss": 3.0, "test_loss_stderr": 0.1, "recall": None}
    assert quoted({"sbp": arm}) == {"sbp": arm}


def test_means_replace_the_first_replicate_and_its_errors():
    arm = {
        "test_loss": 3.0, "test_loss_stderr": 0.1, "choice_accuracy": 0.5, "choice_stderr": 0.02,
        "test_perplexity": 20.0, "recall": None, "seconds": 7.0,
        "mean": {
            "test_loss": {"mean": 4.0, "stderr": 0.5, "low": 3.0, "high": 5.0},
            "choice_accuracy": {"mean": 0.6, "stderr": 0.03, "low": 0.5, "high": 0.7},
            "test_perplexity": {"mean": 55.0, "stderr": 9.0, "low": 40.0, "high": 70.0},
        },
    }  # fmt: skip
    found = quoted({"sbp": arm})["sbp"]
    assert (found["test_loss"], found["test_loss_stderr"]) == (4.0, 0.5)
    assert (found["choice_accuracy"], found["choice_stderr"]) == (0.6, 0.03)
    assert found["test_perplexity"] == 55.0 and "test_perplexity_stderr" not in found
    assert found["recall"] is None and found["seconds"] == 7.0


def test_what_one_replicate_lacks_is_not_quoted_from_the_first():
    arm = {"test_loss": 3.0, "test_loss_stderr": 0.1, "recall": 0.5, "recall_stderr": 0.02, "mean": {}}
    found = quoted({"sbp": arm})["sbp"]
    assert [found[name] for name in ("test_loss", "test_loss_stderr", "recall", "recall_stderr")] == [None] * 4
