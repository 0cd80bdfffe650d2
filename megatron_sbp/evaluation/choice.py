"""Continuation choice, out of four for a held-out document: an accuracy that needs no benchmark and no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.progress import Progress
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.scoring import token_losses
from megatron_sbp.evaluation.statistics import grouped_stderr
from megatron_sbp.tokenization.indexed import IndexedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPTIONS = 4
"""The true continuation and three distractors."""

CHANCE = 1 / OPTIONS


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        row: the document asked about.
        context: its first tokens, int64 [choice_context].
        options: the true continuation first, then the distractors: int64 [4, choice_continuation].
        distractor_rows: the documents from which the distractors come.
    """

    row: int
    context: np.ndarray
    options: np.ndarray
    distractor_rows: tuple[int, int, int]


def build_questions(
    documents: IndexedTokens, embeddings: np.ndarray, *, questions: int, context: int, continuation: int, seed: int
) -> tuple[list[Question], dict[str, int]]:
    """Builds the questions; they depend on the data and the seed alone, so every arm answers the same ones.

    Documents are put into groups of four: one drawn at random and its nearest neighbors among those not yet in a group.
    Each of the four is asked about once, and the continuations of all four are the options of every question in the
    group. A model that does not use the context prefers the same continuation in all four questions and is right in
    exactly one of them. Distractors chosen question by question give no such guarantee: central documents, and the ends
    of short ones, are picked more often, are more probable than the average text, and push accuracy below chance.

    A neighbor is skipped when its continuation or its context equals that of a document already in the group.

    Args:
        documents: tokens of the test split, each document closed by end-of-document, which is never part of an option.
        embeddings: [documents, dim], unit norm.
        questions: upper bound, rounded down to whole groups; the seed decides which documents are asked about.
        context: tokens shown.
        continuation: tokens of an option.
        seed: the run's seed.

    Returns:
        The questions, group by group (question i belongs to group i // 4), and counts: `documents`, `long_enough`
        (documents of at least context + continuation tokens), `questions`, `without_distractors` (documents for which
        no group could be formed).
    """
    lengths = documents.lengths.astype(np.int64) - 1  # without end-of-document
    long_enough = np.flatnonzero(lengths >= context + continuation)
    order = np.random.default_rng([seed, Stream.CHOICE_QUESTIONS]).permutation(long_enough)
    vectors = np.asarray(embeddings, np.float32)[long_enough]
    place = {int(row): at for at, row in enumerate(long_enough)}
    free = np.ones(len(long_enough), bool)
    built: list[Question] = []
    without = 0
    for row in map(int, order):
        if len(built) + OPTIONS > questions:
            break
        if not free[place[row]]:
            continue
        # Stable sort: equal similarities go by row number.
        ranked = long_enough[np.argsort(-(vectors @ vectors[place[row]]), kind="stable")]
        candidates = [row, *(int(other) for other in ranked if free[place[int(other)]] and other != row)]
        group = _group(documents, candidates, context, continuation)
        if group is None:
            free[place[row]] = False
            without += 1
            continue
        free[[place[member] for member in group]] = False
        built += _questions(group)
    counts = {
        "documents": len(documents),
        "long_enough": len(long_enough),
        "questions": len(built),
        "without_distractors": without,
    }
    return built, counts


def _group(
    documents: IndexedTokens, candidates: list[int], context: int, continuation: int
) -> dict[int, tuple[np.ndarray, np.ndarray]] | None:
    """Context and continuation of the first four candidates that differ in both; None where there are fewer."""
    group: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for row in candidates:
        tokens = np.asarray(documents[row][: context + continuation], np.int64)
        shown, true = tokens[:context], tokens[context:]
        if any(np.array_equal(shown, a) or np.array_equal(true, b) for a, b in group.values()):
            continue
        group[row] = shown, true
        if len(group) == OPTIONS:
            return group
    return None


def _questions(group: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[Question]:
    """One question about each document of a group."""
    made = []
    for row, (shown, true) in group.items():
        first, second, third = (other for other in group if other != row)
        options = np.stack([true, *(group[other][1] for other in (first, second, third))])
        made.append(Question(row, shown, options, (first, second, third)))
    return made


def answer(
    model: PreTrainedModel, questions: list[Question], *, end_of_document: int, batch_size: int, label: str
) -> list[float]:
    """Lets a model answer: the option with the largest log-probability given the context is its choice.

    An end-of-document precedes the context, as before every document in training. All options have the same
    number of tokens, so log-probabilities are compared as they are.

    Returns:
        Credit per question: 1 for the true continuation, 0 for another, 1/m when m options tie for the best and the
        true one is among them (so that a model that knows nothing gets a quarter, not all).
    """
    if not questions:
        return []
    context, width = len(questions[0].context), questions[0].options.shape[1]
    rows = np.stack(
        [
            np.concatenate([[end_of_document], question.context, option])
            for question in questions
            for option in question.options
        ]
    ).astype(np.int64)
    scores = np.zeros(len(rows))
    with Progress(label, len(questions), "questions") as progress:
        for at in range(0, len(rows), batch_size * OPTIONS):
            chunk = rows[at : at + batch_size * OPTIONS]
            for start in range(0, len(chunk), batch_size):
                losses = token_losses(model, chunk[start : start + batch_size]).astype(np.float64)
                scores[at + start : at + start + len(losses)] = -losses[:, context : context + width].sum(axis=1)
            progress.advance(len(chunk) // OPTIONS)
    return [credit(row) for row in scores.reshape(-1, OPTIONS)]


def credit(scores: np.ndarray) -> float:
    """Credit for scores [4] of which the first belongs to the true continuation."""
    best = scores == scores.max()
    return float(best[0] / best.sum())


def choice_summary(credits: list[float], counts: dict[str, int]) -> JsonObject:
    """Accuracy with its standard error over groups of four questions; null with a reason when there is no question."""
    result: JsonObject = {**counts, "chance": CHANCE, "accuracy": None, "stderr": None, "reason": None}
    result["group_size"] = OPTIONS
    if not credits:
        result["reason"] = (
            "the only test document gives no question: it takes three others"
            if counts["documents"] == 1
            else f"none of the {counts['documents']} test documents gives a question: long enough: "
            f"{counts['long_enough']}, of these without three usable neighbors: {counts['without_distractors']}"
        )
        return result
    result |= {"accuracy": sum(credits) / len(credits), "stderr": grouped_stderr(np.array(credits), OPTIONS)}
    result["credits"] = [round(value, 6) for value in credits]
    return result
