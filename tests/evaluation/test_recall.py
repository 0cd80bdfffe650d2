"""Closed-book recall: tokens of questions, scores of choices, and the figures by tag and by documents in D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.made_up_model import tiny_qwen3

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.questions import ClozeQuestion
from megatron_sbp.evaluation.recall import RecallQuestions, choice_scores, encode_questions, recall_summary
from megatron_sbp.evaluation.scoring import token_losses
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import ROLES, TextTokenizer

CITIES = tuple(
    "Athens Berlin Boston Cairo Dublin Geneva Hanoi Lima Lisbon London Madrid Milan Oslo Paris Prague".split()
)
NAMES = [f"{first} {last}" for first in "Ada Ben Cleo Dora Emil Fay Gus Hal".split() for last in CITIES]
FILE = Path("questions.jsonl")


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    """Some cities are one token, others are several."""
    texts = [f"{name} was born in {city}." for name in NAMES[:20] for city in CITIES[:8]]
    return train_bpe(texts, 300, {role: f"<|{role}|>" for role in ROLES})


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_qwen3(tokenizer.vocab_size, seed=3)


def question(line: int, name: str, choices=CITIES, answer: int = 0, tag="city", group=None) -> ClozeQuestion:
    return ClozeQuestion(line, f"{name} was born in", tuple(choices), answer, tag, group or name)


def test_scores_are_the_log_probabilities_of_the_whole_choice(tokenizer, model):
    questions = [question(line, name) for line, name in enumerate(NAMES[:6], 1)]
    encoded = encode_questions(questions, tokenizer, FILE)
    lengths = {len(choice) for each in encoded for choice in each.choices}
    assert len(lengths) > 1, "the test needs choices of several lengths"
    found = choice_scores(model, encoded, 4, "test")
    for asked, scores in zip(questions, found, strict=True):
        prompt = tokenizer.encode_batch([asked.prompt])[0]
        for choice, score in zip(asked.choices, scores, strict=True):
            whole = tokenizer.encode_batch([f"{asked.prompt} {choice}"])[0]
            assert whole[: len(prompt)] == prompt
            losses = token_losses(model, np.array([[tokenizer.end_of_document, *whole]]))[0]
            assert score == pytest.approx(-losses[len(prompt) :].sum(), abs=1e-4)


def test_where_the_prompt_ends_inside_a_token_the_rest_counts_as_choice(tokenizer):
    encoded = encode_questions([ClozeQuestion(1, "Ada was bo", ("rn", "und"), 0, None, None)], tokenizer, FILE)[0]
    assert encoded.context[0] == tokenizer.end_of_document
    assert all(choice for choice in encoded.choices)
    wholes = tokenizer.encode_batch(["Ada was bo rn", "Ada was bo und"])
    assert [[*encoded.context[1:], *choice] for choice in encoded.choices] == wholes


def test_choices_that_cannot_be_told_apart_are_named_by_line(tokenizer):
    from tokenizers import Tokenizer, normalizers

    with pytest.raises(InputError, match=r"questions.jsonl:7: 'choices': 'Os' and 'Oslo' begin with the same tokens"):
        plain = train_bpe(["a"], 259, {role: f"<|{role}|>" for role in ROLES})
        encode_questions([question(7, "Ada", ("Oslo", "Lima", "Os"))], plain, FILE)
    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    backend.normalizer = normalizers.Lowercase()
    lower = TextTokenizer(backend, tokenizer.roles)
    with pytest.raises(InputError, match=r"questions.jsonl:2: 'choices': '.slo' and '.slo' tokenize alike"):
        encode_questions([question(1, "Ada"), question(2, "Ada", ("Oslo", "oslo"))], lower, FILE)


def test_a_question_that_the_models_cannot_read_is_named_by_line(tokenizer):
    both = [question(3, "Ada"), question(4, "Ada " * 60)]
    longest = max(len(one.context) + max(map(len, one.choices)) - 1 for one in encode_questions(both, tokenizer, FILE))
    assert len(encode_questions(both, tokenizer, FILE, longest)) == 2
    with pytest.raises(
        InputError, match=rf"jsonl:4: 'prompt': the question has {longest} tokens .* read {longest - 1}"
    ):
        encode_questions(both, tokenizer, FILE, longest - 1)


def test_random_weights_recall_at_chance(tokenizer, model):
    random = np.random.default_rng(1)
    questions = [
        question(line, name, answer=int(random.integers(len(CITIES)))) for line, name in enumerate(NAMES * 3, 1)
    ]
    scores = choice_scores(model, encode_questions(questions, tokenizer, FILE), 64, "test")
    result = recall_summary(questions, scores, None)
    assert result["chance"] == pytest.approx(1 / len(CITIES)) and result["by_documents"] is None
    error = (result["chance"] * (1 - result["chance"]) / result["questions"]) ** 0.5
    assert abs(result["recall"] - result["chance"]) < 3 * error


def test_figures_are_divided_and_groups_are_the_unit_of_the_error():
    questions = [
        question(1, "Ada", ("a", "b"), 0, "city"),
        question(2, "Ada", ("a", "b", "c", "d"), 1, "pet"),
        question(3, "Ben", ("a", "b"), 0, "city"),
        question(4, "Cleo", ("a", "b"), 1, "city"),
        question(5, "Dora", ("a", "b"), 1, None),
    ]
    scores = [np.array(row, float) for row in ([1, 0], [0, 1, 0, 0], [0, 1], [0, 1], [0, 0])]
    result = recall_summary(questions, scores, {"Ada": 5, "Ben": 0, "Cleo": 3, "Dora": 1})
    assert result["recall"] == pytest.approx((1 + 1 + 0 + 1 + 0.5) / 5)
    assert result["chance"] == pytest.approx((0.5 * 4 + 0.25) / 5)
    assert {tag: figures["recall"] for tag, figures in result["by_tag"].items()} == {"city": 2 / 3, "pet": 1.0}
    by_documents = {name: (figures["recall"], figures["groups"]) for name, figures in result["by_documents"].items()}
    assert by_documents == {"0": (0.0, 1), "1": (0.5, 1), "3+": (1.0, 2)}
    assert (result["group_credits"], result["group_questions"]) == ([2.0, 0.0, 1.0, 0.5], [2, 1, 1, 1])
    # The two answers on Ada count as one observation.
    residuals = np.array([2, 0, 1, 0.5]) - 0.7 * np.array([2, 1, 1, 1])
    assert result["stderr"] == pytest.approx((4 / 3 * (residuals**2).sum()) ** 0.5 / 5)


def test_questions_are_encoded_once_for_any_number_of_models(tokenizer, model, monkeypatch):
    questions = [question(line, name, group=name) for line, name in enumerate(NAMES[:4], 1)]
    documents = {name: place for place, name in enumerate(NAMES[:4])}
    calls, encode = [], TextTokenizer.encode_batch
    monkeypatch.setattr(TextTokenizer, "encode_batch", lambda self, texts: calls.append(1) or encode(self, texts))
    asked = RecallQuestions(questions, tokenizer, FILE, documents)
    first, second = (asked.ask(model, 4, "test") for _ in range(2))
    assert len(calls) == 1 and first == second
    scores = choice_scores(model, encode_questions(questions, tokenizer, FILE), 4, "test")
    assert first == recall_summary(questions, scores, documents)
    assert first["by_documents"].keys() == {"0", "1", "2", "3+"}
