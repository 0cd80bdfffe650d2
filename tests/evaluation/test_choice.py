"""Questions and answers: a model that knows, one that knows nothing, and what makes a distractor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.made_up_model import tiny_qwen3

from megatron_sbp.evaluation.choice import CHANCE, answer, build_questions, choice_summary, credit
from megatron_sbp.tokenization.indexed import open_indexed, write_indexed

END, VOCABULARY = 0, 64
CONTEXT, CONTINUATION = 6, 4


def corpus(folder, documents):
    with write_indexed(folder / "test", np.uint16) as writer:
        for document in documents:
            writer.add(np.array([*document, END]), np.array([len(document) + 1]))
    return open_indexed(folder / "test")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def many(tmp_path):
    random = np.random.default_rng(1)
    documents = corpus(tmp_path, [random.integers(1, VOCABULARY, random.integers(8, 30)) for _ in range(150)])
    return documents, unit(random.normal(size=(150, 8))).astype(np.float16)


def build(documents, vectors, questions=1000, seed=1):
    return build_questions(
        documents, vectors, questions=questions, context=CONTEXT, continuation=CONTINUATION, seed=seed
    )


class Knowing(torch.nn.Module):
    """Gives a logit of 20 to the token that follows in a known document, 0 to all others."""

    def __init__(self, documents):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.next = {}
        for row in range(len(documents)):
            tokens = np.asarray(documents[row]).tolist()
            for place in range(CONTEXT, len(tokens)):
                self.next[tuple(tokens[:place])] = tokens[place]

    def forward(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, VOCABULARY)
        for row, ids in enumerate(input_ids.tolist()):
            for place in range(len(ids)):
                known = self.next.get(tuple(ids[1 : place + 1]))
                if known is not None:
                    logits[row, place, known] = 20.0
        return SimpleNamespace(logits=logits)


def test_a_model_that_knows_the_documents_answers_all(many):
    questions, _ = build(*many)
    credits = answer(Knowing(many[0]), questions, end_of_document=END, batch_size=5, label="test")
    assert len(credits) > 50 and set(credits) == {1.0}


def test_random_weights_are_near_chance(many):
    questions, counts = build(*many)
    model = tiny_qwen3(VOCABULARY)
    result = choice_summary(answer(model, questions, end_of_document=END, batch_size=16, label="test"), counts)
    assert abs(result["accuracy"] - CHANCE) < 4 * result["stderr"]
    groups = np.reshape(result["credits"], (-1, 4)).mean(axis=1)
    assert result["stderr"] == pytest.approx(groups.std(ddof=1) / len(groups) ** 0.5)


def test_ties_share_the_credit():
    assert credit(np.array([1.0, 1.0, 1.0, 1.0])) == 0.25
    assert credit(np.array([1.0, 1.0, 0.0, 0.0])) == 0.5
    assert credit(np.array([0.0, 1.0, 1.0, 0.0])) == 0.0
    assert credit(np.array([2.0, 1.0, 1.0, 0.0])) == 1.0


def test_scores_are_log_probabilities_of_the_continuation_alone(many):
    questions, _ = build(*many, questions=7)

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def forward(self, input_ids, use_cache):
            self.seen += input_ids.tolist()
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, VOCABULARY))

    model = Fixed()
    assert answer(model, questions, end_of_document=END, batch_size=2, label="test") == [0.25] * 4
    assert len(model.seen) == 16
    first = questions[0]
    assert model.seen[1] == [END, *first.context.tolist(), *first.options[1].tolist()[:-1]]


def test_questions_depend_on_data_and_seed_alone(many):
    first, second = build(*many, questions=20)[0], build(*many, questions=20)[0]
    assert [q.row for q in first] == [q.row for q in second]
    assert all(np.array_equal(a.options, b.options) for a, b in zip(first, second, strict=True))
    assert [q.row for q in build(*many, questions=20, seed=2)[0]] != [q.row for q in first]


def test_distractors_are_never_the_true_continuation_and_all_differ(many):
    questions, counts = build(*many)
    assert counts["questions"] == len(questions) == counts["long_enough"] - counts["without_distractors"]
    assert counts["without_distractors"] < 4
    for question in questions:
        assert len({tuple(option) for option in question.options.tolist()}) == 4
        true = np.asarray(many[0][question.row])[CONTEXT : CONTEXT + CONTINUATION]
        assert question.options[0].tolist() == true.tolist()
        assert question.row not in question.distractor_rows
        assert END not in question.options


def test_every_continuation_of_a_group_is_the_true_one_once_and_a_distractor_three_times(many):
    questions, _ = build(*many)
    rows = [question.row for question in questions]
    assert len(rows) == len(set(rows)) and len(rows) % 4 == 0
    for at in range(0, len(questions), 4):
        group = questions[at : at + 4]
        options = [sorted(map(tuple, question.options.tolist())) for question in group]
        assert options == [options[0]] * 4
        assert all({q.row, *q.distractor_rows} == {q.row for q in group} for q in group)


def test_a_group_is_a_document_with_its_nearest_usable_neighbors(tmp_path):
    base = list(range(1, 13))
    documents = [
        base,  # 0
        [*base[:6], 40, 41, 42, 43],  # 1: nearest to 0, but the same context: ambiguous
        [20, 21, 22, 23, 24, 25, *base[6:10], 26],  # 2: the same continuation as 0
        [30, 31, 32, 33, 34],  # 3: too short
        [*range(44, 56)],  # 4
        [20, 21, 22, 23, 24, 26, 50, 51, 52, 53],  # 5: the same continuation as 4
        [*range(10, 30)],  # 6
        [*range(30, 50)],  # 7
    ]
    similarity = [1.0, 0.99, 0.98, 0.97, 0.8, 0.7, 0.6, 0.5]
    vectors = np.array([[value, (1 - value * value) ** 0.5] for value in similarity], np.float32)
    opened = corpus(tmp_path, documents)
    found = next(q for seed in range(20) for q in build(opened, vectors, questions=4, seed=seed)[0][:1] if q.row == 0)
    assert found.distractor_rows == (4, 6, 7)
    assert found.options.tolist() == [[7, 8, 9, 10], [50, 51, 52, 53], [16, 17, 18, 19], [36, 37, 38, 39]]


def test_too_few_documents_give_fewer_questions_or_null_with_a_reason(tmp_path):
    documents = corpus(tmp_path, [range(1, 20), range(3, 22), range(5, 8)])
    questions, counts = build(documents, unit(np.ones((3, 2))))
    assert questions == [] and counts["without_distractors"] == 2
    result = choice_summary([], counts)
    assert result["accuracy"] is None and result["stderr"] is None
    assert "none of the 3 test documents" in result["reason"]
    only = choice_summary([], build(corpus(tmp_path, [range(1, 20)]), unit(np.ones((1, 2))))[1])
    assert only["reason"] == "the only test document gives no question: it takes three others"
    assert answer(None, [], end_of_document=END, batch_size=2, label="test") == []
