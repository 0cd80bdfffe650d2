"""The quality sheet on texts whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.evaluation import sheet
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.overlap.ngram_novelty import NgramNovelty
from megatron_sbp.synthesis.synthesizer import ids_digest


def sampled(text: str, seed_row: int | None = None, own: int = -1) -> Sampled:
    return Sampled(text, np.arange(len(text.split())), {"seed_row": seed_row}, own)


def unlike(count: int, words: int, seed: int = 0, of: int = 3000) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in random.integers(0, of, words)) for _ in range(count)]


def test_texts_that_are_alike_are_less_distinct_and_have_a_higher_self_bleu():
    apart, alike = unlike(40, 60), [text + " end" for text in unlike(4, 60) * 10]
    groups = {"apart": [sampled(text, row) for row, text in enumerate(apart)]}
    groups["alike"] = [sampled(text, row) for row, text in enumerate(alike)]
    novelty = NgramNovelty()
    for group, texts in groups.items():
        for one in texts:
            novelty.add(group, one.text)
    for row, text in enumerate(apart[:20]):
        novelty.look(row, text)
    found = sheet.measure_groups(groups, novelty, 1)
    assert found == sheet.measure_groups(groups, novelty, 1)
    assert found["apart"]["compared"] == found["alike"]["compared"]
    assert found["apart"]["self_bleu"]["high"] < 0.1 < 0.9 < found["alike"]["self_bleu"]["low"]
    # Four texts again and again: every block of 120 words has fewer distinct bigrams than one of texts apart.
    assert found["apart"]["distinct"]["2"]["value"] > 0.99
    by_n = {row["n"]: row for row in found["apart"]["novel_ngrams_by_n"]}
    assert by_n[13]["value"] == pytest.approx(0.5) and 0.3 < by_n[13]["low"] < 0.5 < by_n[13]["high"] < 0.7
    assert by_n[1]["value"] < by_n[2]["value"]
    assert found["apart"]["vocabulary_overlap"]["value"] > 0.5


def test_one_text_per_seed_document_is_compared():
    texts = [sampled("a", 3), sampled("b", 3), sampled("c", 1), sampled("d", None), sampled("e", None)]
    assert [one.text for one in sheet.one_per_seed(texts)] == ["a", "c", "d", "e"]


def test_lengths():
    found = sheet.lengths([10] * 30 + [20] * 30 + [30] * 30, 39, 1)
    assert found["mean"]["value"] == 20 and 18 < found["mean"]["low"] < 20 < found["mean"]["high"] < 22
    assert found["quantiles"]["0.5"]["value"] == 20
    assert sum(found["histogram"]["documents"]) == 90 and len(found["histogram"]["edges"]) == 21
    assert sum(sheet.lengths([10, 45], 39, 1)["histogram"]["documents"]) == 2  # a longer one is in the last bin
    assert sheet.lengths([], 39, 1) is None


def test_texts_that_are_tokenized_otherwise_than_written_are_counted():
    rows = [Sampled("x", np.array([1, 2]), {"ids_digest": ids_digest([1, 2])})] * 3
    rows.append(Sampled("x", np.array([1, 2]), {"ids_digest": ids_digest([7])}))
    assert sheet.retokenized(rows)["value"] == 0.25
    assert sheet.retokenized([Sampled("x", np.array([1]), {})])["value"] is None


def test_all_texts_that_the_filters_compared():
    found = sheet.retokenized_counts({"documents": 400, "differing": 40, "kept": 0, "kept_differing": 0})
    assert found["generations"]["value"] == 0.1 and 0.07 < found["generations"]["low"] < 0.1
    assert found["synthetic"]["value"] is None and sheet.retokenized_counts(None) == {}
