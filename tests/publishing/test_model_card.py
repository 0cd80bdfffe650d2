"""The card of a model: its figures with their intervals."""

from __future__ import annotations

import pytest
from support.cards import PROVENANCE, parts, recipe

from megatron_sbp.publishing.model_card import model_card

RESULTS = {
    "arms": {
        "sbp": {
            "train_tokens": 200_000, "synthetic_tokens": 60_000, "real_epochs": 1.5, "test_loss": 4.0,
            "test_loss_stderr": 0.01, "test_bits_per_byte": 1.25, "recall": 0.5, "recall_stderr": 0.1,
            "replicates": [{}, {"test_loss": 3.0, "test_bits_per_byte": 1.0}],
        },
        "oracle": {"test_loss": None},
    },
    "comparisons": {
        "sbp-baseline": {"test_loss": {"difference": 0.12, "low": 0.1, "high": 0.14}},
        "sbp-oracle": {"test_loss": {"difference": -0.3, "low": None, "high": None}},
        "oracle-sbp": {"test_loss": {"difference": 0.3, "low": 0.2, "high": 0.4}},
    },
    "tuning": {"reading": {"gain": 0.19, "gain_stderr": 0.02, "loss_true_seed": 3.41, "loss_wrong_seed": 3.6}},
}  # fmt: skip


def test_a_model_has_its_figures_with_their_intervals():
    header, text = parts(model_card(recipe(), "sbp", PROVENANCE, RESULTS, 1))
    assert (header["library_name"], header["pipeline_tag"]) == ("transformers", "text-generation")
    lines = text.splitlines()
    for line in (
        "| parameters | 60,000 |", "| weights | bfloat16 |", f"| SHA-256 of the weights | `{'cd' * 32}` |",
        "| test loss (nats per token) | 4.0000 [3.9804, 4.0196] |", "| test bits per byte | 1.2500 |",
        "| closed-book recall (percent) | 50.0 [30.4, 69.6] |", "| synthetic tokens | 60,000 |",
        "| repetition baseline | +0.1200 [+0.1000, +0.1400] |",
    ):  # fmt: skip
        assert line in lines, line
    assert not any(line.startswith("| oracle |") for line in lines), "a gain without an interval is left out"
    assert "synthesizer `related`, each once, and the source corpus D for the rest" in text


def test_nothing_has_no_minus_sign():
    """A card said -0.0000."""
    gain = {"test_loss": {"difference": -0.00001, "low": -0.00002, "high": 0.0}}
    _, text = parts(model_card(recipe(), "sbp", PROVENANCE, {**RESULTS, "comparisons": {"sbp-baseline": gain}}, 1))
    assert "| repetition baseline | +0.0000 [+0.0000, +0.0000] |" in text
    reading = {"gain": -0.00001, "gain_stderr": 0.00001, "loss_true_seed": 3.4, "loss_wrong_seed": 3.4}
    results = {**RESULTS, "tuning": {"reading": reading}}
    _, text = parts(model_card(recipe(), "synthesizer-related", PROVENANCE, results, 1))
    assert "| gain from the seed | 0.0000 [0.0000, 0.0000] |" in text


def test_a_replicate_has_its_own_figures():
    real = recipe(replicates=2)
    _, text = parts(model_card(real, "sbp", PROVENANCE, RESULTS, 2))
    assert "# test: sbp, replicate 2" in text and "| test loss (nats per token) | 3.0000 |" in text


@pytest.mark.parametrize(("model", "results"), [("sbp", None), ("oracle", RESULTS)])
def test_a_model_that_was_not_evaluated(model, results):
    assert "Not evaluated yet." in model_card(recipe(), model, PROVENANCE, results, 1)


def test_a_synthesizer_says_how_it_is_asked_and_what_it_reads():
    _, text = parts(model_card(recipe(), "synthesizer-related", PROVENANCE, RESULTS, 1))
    assert "`<|related|>`" in text and "at most 32 tokens" in text
    assert "| gain from the seed | 0.1900 [0.1508, 0.2292] |" in text
    assert "Not evaluated." in model_card(recipe(), "synthesizer-related", PROVENANCE, None, 1)
