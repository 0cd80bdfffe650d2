"""Which dropped texts are kept aside, and that what stands beside them is what decided."""

from __future__ import annotations

import random

import pytest

from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.dropped_examples import SHOWN, DroppedExamples, TextMeasures
from megatron_sbp.tokenization.encoding import write_texts

RULES = Filter(max_corpus_copying=0.4)


def row(number: int, text: str = "x") -> dict:
    return {"id": f"syn-{number}", "seed_id": f"doc-{number // 2}", "seed_row": number // 2, "text": text}


def told(numbers: list[int], shards: int) -> dict[str, list[dict]]:
    """What is kept of these generations, counted in some shards that are joined in order."""
    whole = DroppedExamples(RULES)
    for shard in range(shards):
        part = DroppedExamples(RULES)
        for number in numbers[shard::shards]:
            part.add("repetition" if number % 3 else "unfinished", row(number), 7, {})
        whole.join(part.told())
    return whole.told()


def test_the_choice_does_not_depend_on_the_shards_nor_on_the_order():
    numbers = list(range(300))
    found = told(numbers, 1)
    assert {rule: len(examples) for rule, examples in found.items() if examples} == {
        "repetition": SHOWN, "unfinished": SHOWN,
    }  # fmt: skip
    random.Random(1).shuffle(numbers)
    assert told(numbers, 7) == told(numbers, 300) == found
    chosen = sorted(int(one["id"].removeprefix("syn-")) for one in found["repetition"])
    assert chosen[-1] > 150 and chosen[0] < 150, "not the first ones"


def test_an_example_says_what_decided_and_names_its_seed():
    found = DroppedExamples(RULES, lambda row: {"repetition": 0.1234567, "broken_text": False})
    found.add("corpus_copying", row(4, "y" * 5000), 7, {"corpus_copying": 0.5, "similarity": None})
    [example] = found.told()["corpus_copying"]
    measured = {"repetition": 0.123457, "broken_text": False, "too_short": 7, "corpus_copying": 0.5}
    assert example == {
        "id": "syn-4", "seed_id": "doc-2", "measured": measured, "limit": 0.4,
        "text": "y" * 3000, "characters": 5000,
    }  # fmt: skip


def test_texts_of_audits_of_earlier_versions_are_still_joined():
    whole = DroppedExamples(RULES)
    empty = {rule: [] for rule in whole.told()}
    whole.join({**empty, "copying": ["an old text", "another"]})
    whole.join({**empty, "copying": DroppedExamples(RULES).told()["copying"]})
    assert sorted(one["text"] for one in whole.told()["copying"]) == ["an old text", "another"]


def test_measures_are_those_that_the_rules_take(tokenizer, texts, tmp_path):
    write_texts(texts[:3], tmp_path / "seeds", tokenizer)
    opened = []
    measure = TextMeasures(lambda: opened.append(1) or tokenizer, tmp_path / "seeds", RULES, 13)
    words = "round and round it goes " * 20
    looping, copied = ({**row(2, text), "finished": True} for text in (words, texts[1]))
    assert measure(looping)["repetition"] > 0.9 > 0.1 > measure(looping)["copying"]
    assert measure(copied)["copying"] == pytest.approx(1) and len(opened) == 1
    assert "copying" not in measure({**copied, "seed_row": None})
    assert measure({**copied, "finished": False})["unfinished"] is True
