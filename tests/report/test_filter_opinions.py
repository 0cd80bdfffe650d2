"""What the filters measured of an example: the values by which they judged, each with its limit."""

from __future__ import annotations

import pytest
from support.made_up_text import text_run

from megatron_sbp.recipe import Filter
from megatron_sbp.report.filter_opinions import Filters, filters_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return text_run(tmp_path_factory.mktemp("opinions"))


def test_a_kept_text_is_measured_by_the_rules_themselves(run):
    filters = filters_of(run.recipe, run.tokenizer)
    seed = "the quick brown fox jumps over the lazy dog and runs into the dark wood " * 2
    row = {"text": "and and and and and and and and " + seed, "finished": False, "tokens": 3}
    found = filters.of_kept(row, seed)
    tokens = len(filters.tokenizer.encode_batch([row["text"]])[0])
    assert (found["broken_text"], found["too_short"], found["unfinished"]) == (False, tokens, True)
    assert found["repetition"] > 0.3 and 0.2 < found["copying"] < 1
    told = filters.told(found)
    assert told[:2] == [f"{tokens} tokens (at least {run.recipe.filter.min_tokens})", "not ended"]
    assert told[2].startswith(f"repetition {found['repetition']:.3f} (at most {run.recipe.filter.max_repetition:g}")
    assert told[3].startswith("copying 0.") and len(told) == 4
    assert "copying" not in filters.of_kept({"text": "a b", "finished": True}, "")  # there is nothing to copy from


def test_without_a_tokenizer_only_what_the_row_says_is_told(run, tmp_path):
    rules = Filter(max_corpus_copying=0.1, min_similarity=0.4)
    filters = Filters(rules, 13)
    row = {"text": "a", "finished": True, "corpus_copying": 0.0125, "corpus_shingles": 1250.0, "similarity": None}
    assert filters.of_kept(row, "") == {"corpus_copying": 0.0125, "corpus_shingles": 1250.0, "similarity": None}
    assert filters.told(filters.of_kept(row, "")) == ["corpus copying 0.013 (at most 0.1)", "corpus shingles 1,250.0"]
    assert filters_of(run.recipe, None).tokenizer is filters_of(run.recipe, tmp_path).tokenizer is None


def test_values_of_any_kind_are_told():
    told = Filters(Filter(), 13).told({"broken_text": True, "predicate": False, "duplicate": 0.91, "other": "<x>"})
    assert told == ["broken text", "predicate: no", "duplicate 0.910 (below 0.7)", "other <x>"]
