"""The card of a corpus: its size, its files, and who wrote them."""

from __future__ import annotations

import pytest
from support.cards import AUDIT, parts, recipe

from megatron_sbp.publishing.dataset_card import dataset_card
from megatron_sbp.recipe.sections import Synthesizer


@pytest.mark.parametrize(
    ("documents", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_500_000, "1M<n<10M"), (2 * 10**10, "10B<n<100B")],
)
def test_the_size_of_a_corpus(documents, size):
    header, _ = parts(dataset_card(recipe(), {"related": documents}, {"related": AUDIT}, {}))
    assert header["size_categories"] == [size]


def test_every_configuration_of_a_corpus_has_its_files_and_the_first_is_shown():
    real = recipe(
        synthesizers={
            "related": Synthesizer(), "chance": Synthesizer(method="replacement", replaced=0.25),
            "self": Synthesizer(method="samples"), "random": Synthesizer(pairs={"relation": "random"}),
        }
    )  # fmt: skip
    documents = {"related": 209, "chance": 10, "self": 5, "random-2": 7}
    header, text = parts(dataset_card(real, documents, dict.fromkeys(documents, AUDIT), {}))
    assert header["configs"][0] == {"config_name": "related", "data_files": "data/related/*.parquet", "default": True}
    assert header["configs"][3] == {"config_name": "random-2", "data_files": "data/random-2/*.parquet"}
    assert header["license"] == "unknown" and "arxiv:2509.15248" in header["tags"]
    lines = text.splitlines()
    assert "| `related` | a synthesizer tuned on pairs of similar documents | 209 | 60,001 | 220 |" in lines
    assert "25 % of their tokens replaced" in text and "the baseline, without a seed document" in text
    assert "| `random-2` | a synthesizer tuned on pairs of random documents (a control) | 7 | 60,001 | 220 |" in lines
    assert "| unfinished | 11 | 11 | 11 | 11 |" in lines
    assert text.count(": not measured.") == 4
