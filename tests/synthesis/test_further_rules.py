"""Rules that judge several texts at once; the index itself is in tests/overlap/test_corpus_index.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.judged_shard import judged_shard, row

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.user_function import UserFunction
from megatron_sbp.overlap.contamination import ItemIndex
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis import judging
from megatron_sbp.synthesis.corpus_index import close_index, plan_corpus_index, write_index_part
from megatron_sbp.synthesis.further_rules import (
    LOOKED_UP,
    Candidate,
    Contaminated,
    CorpusCopying,
    FurtherSources,
    Predicate,
    Similarity,
    further_rules,
    measure_names,
)
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.rule_names import RULES, VERDICTS, rule_names

QUESTION = "The capital of the country of Norway is Oslo"


@pytest.mark.parametrize("chosen", ["keep", "drop"])
def test_texts_with_an_evaluation_item_are_counted_and_dropped_where_they_should_be(chosen):
    rule = Contaminated(ItemIndex({"questions": [QUESTION, QUESTION]}), chosen)
    said = rule.opinions([candidate("No question."), candidate(f"x {QUESTION.lower()}")])
    assert [one.value for one in said] == [0, 2] and [one.drops for one in said] == [False, chosen == "drop"]


class Counts:
    """An index that says what it is told."""

    def __init__(self, *counts):
        self.counts = lambda texts: np.array(counts[: len(texts)])


def candidate(text: str = "x", seed_row: int | None = 0) -> Candidate:
    return Candidate(row(text, seed_row), np.arange(20), np.arange(3))


def test_a_text_at_the_limit_passes_and_one_above_it_is_dropped():
    said = CorpusCopying(Counts((5, 10), (6, 10), (0, 0), (10, 10)), 0.5).opinions([candidate()] * 4)
    assert [one.drops for one in said] == [False, True, False, True]
    assert [one.value for one in said] == [0.5, 0.6, None, 1.0] and [one.sampled for one in said] == [10, 10, 0, 10]


def predicate(folder: Path, body: str) -> UserFunction:
    (folder / "keep.py").write_text(f"def keep(batch):\n    {body}\n")
    found = UserFunction.of("keep.py:keep", folder, "filter.predicate")
    assert found is not None
    return found


def test_a_users_function_gets_seed_text_and_row(tmp_path, tokenizer, texts):
    place = predicate(
        tmp_path, "return [case['seed'] == case['text'] and case['row']['seed_row'] == 2 for case in batch]"
    )
    seed = np.array(tokenizer.encode_batch([texts[0]])[0])
    cases = [(texts[0], 2), (texts[0], 3), (texts[1], 2)]
    said = Predicate(place, tokenizer).opinions([Candidate(row(text, at), np.empty(0), seed) for text, at in cases])
    assert [one.drops for one in said] == [False, True, True] and said[0].limit == "keep"
    place = predicate(tmp_path, "return [case['seed'] is None for case in batch]")
    assert not Predicate(place, tokenizer).opinions([candidate(seed_row=None)])[0].drops
    assert Predicate(place, tokenizer).opinions([]) == []


def test_a_function_may_change_what_it_gets(tmp_path, tokenizer):
    place = predicate(tmp_path, "return [c.pop('row').clear() is None and c['text'] != 'b' or 3 for c in batch]")
    cases = [candidate("a"), candidate("b")]
    with pytest.raises(InputError, match=r"said 3; .*document b\)"):
        Predicate(place, tokenizer).opinions(cases)
    assert cases[0].row["text"] == "a"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [True] * 3", r"returned 3 entries for 2 texts \(documents a to b\)"),
        ("return True", r"returned bool for 2 texts"),
        ("return [1, 1]", r"said 1; it must be True \(keep\) or False \(document a\)"),
        ("return [1 / (case['text'] != 'b') > 0 for case in batch]", r"raised ZeroDivisionError: .* \(document b\)"),
    ],
)
def test_a_function_that_fails_is_named_with_file_function_and_document(tmp_path, tokenizer, body, message):
    rule = Predicate(predicate(tmp_path, body), tokenizer)
    with pytest.raises(InputError, match=rf"keep.py: 'filter.predicate': the predicate keep\(\) {message}"):
        rule.opinions([candidate("a"), candidate("b")])


def test_rules_are_those_that_the_recipe_asks_for(tmp_path, tokenizer):
    place = predicate(tmp_path, "return [True] * len(batch)")
    assert rule_names(Filter()) == RULES and measure_names(Filter()) == ()
    rules = Filter(max_corpus_copying=0.5, contaminated="keep", predicate="keep.py:keep")
    assert rule_names(rules) == (*RULES[:5], "corpus_copying", "contaminated", "predicate", "duplicate")
    assert measure_names(rules) == ("corpus_copying", LOOKED_UP, "contaminated", "predicate")
    assert list(further_rules(rules, FurtherSources(predicate=place), tokenizer)) == ["predicate"]


@pytest.mark.parametrize("at_once", [256, 2])
def test_a_shard_each_rule_sees_what_those_before_it_passed(tmp_path, tokenizer, texts, monkeypatch, at_once):
    """The seed documents are the first five texts, and they are D."""
    monkeypatch.setattr(judging, "_AT_ONCE", at_once)
    judged_shard(tmp_path, tokenizer, texts, [])  # writes the documents
    plan = plan_corpus_index(tmp_path / "real", 13, 1)
    write_index_part(tmp_path / "real", 13, plan, 0, tmp_path / "index")
    close_index(13, plan, tmp_path / "index")
    place = predicate(tmp_path, "return [len(case['text']) % 2 == 0 for case in batch]")
    even, odd = (next(text for text in texts[7:] if len(text) % 2 == rest and len(text) > 100) for rest in (0, 1))
    rows = [row(texts[1]), row("ab"), row(even), row(texts[0]), row(odd)]
    rules = Filter(min_tokens=4, max_corpus_copying=0.5, predicate="keep.py:keep")
    sources = FurtherSources(tmp_path / "index", predicate=place)
    shard = judged_shard(tmp_path, tokenizer, texts, rows, rules, sources=sources)
    verdicts = ["passed" if verdict == PASSED else VERDICTS[verdict] for verdict in np.load(shard.verdicts)[0].tolist()]
    assert verdicts == ["corpus_copying", "too_short", "passed", "copying", "predicate"]
    shares, looked_up, kept = np.load(shard.measures)
    assert shares[0] == 1 and shares[2] < 0.5 and np.isnan(shares[[1, 3]]).all() and looked_up[0] > 10
    assert kept[[2, 4]].tolist() == [1, 0] and np.isnan(kept[[0, 1, 3]]).all()
    assert len(np.load(shard.digests)) == len(np.load(shard.signatures)) == 1


def test_a_text_less_similar_to_its_seed_than_the_limit_is_dropped(tmp_path):
    np.save(tmp_path / "00000.npy", np.array([0.49, 0.5, np.nan, 0.9], np.float32))
    np.save(tmp_path / "00001.npy", np.array([0.1], np.float32))
    places = [("00000", 0), ("00000", 1), ("00000", 2), ("00001", 0), ("00000", 3), ("00002", 0)]
    candidates = [Candidate(row("x"), np.arange(3), np.arange(3), shard, place) for shard, place in places]
    said = Similarity(tmp_path, 0.5).opinions(candidates)
    assert [one.drops for one in said] == [True, False, False, True, False, False]
    # Without a seed document, and in a shard that is not compared yet, there is no value.
    assert [one.value is None for one in said] == [False, False, True, False, False, True]


def test_the_rule_is_left_out_without_a_limit_or_similarities(tmp_path, tokenizer):
    sources = FurtherSources(similarities=tmp_path)
    assert list(further_rules(Filter(min_similarity=0.2), sources, tokenizer)) == ["similarity"]
    assert not further_rules(Filter(), sources, tokenizer)
    assert not further_rules(Filter(min_similarity=0.2), FurtherSources(), tokenizer)
    assert rule_names(Filter(min_similarity=0.2))[-2:] == ("similarity", "duplicate")
