"""Pick the true continuation of a held-out document among four: an accuracy that needs no benchmark and no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_sbp.evaluation.scoring import token_losses
from megatron_sbp.progress import Progress
from megatron_sbp.tokenization.indexed import IndexedTokens

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

    A distractor is the span of a near neighbour at the place where the true continuation stands in its own document;
    in a shorter neighbour, its last span of that length. Neighbours are tried from the nearest on. One is passed over
    when it is too short, when its span is the true continuation or one that is taken already, or when it begins with
    the same context (its own continuation would be as true).

    Args:
        documents: tokens of the test split, each document closed by end-of-document, which is never part of an option.
        embeddings: [documents, dim], unit norm.
        questions: at most so many; which documents are asked about, if there are more, the seed decides.
        context: tokens shown.
        continuation: tokens of an option.
        seed: the run's seed.

    Returns:
        The questions in the order of their rows, and counts: `documents`, `long_enough`, `questions`,
        `without_distractors` (documents that were tried but have fewer than three usable neighbours).
    """
    lengths = documents.lengths.astype(np.int64) - 1  # without end-of-document
    long_enough = np.flatnonzero(lengths >= context + continuation)
    order = np.random.default_rng([seed, 11]).permutation(long_enough)
    vectors = np.asarray(embeddings, np.float32)
    built: list[Question] = []
    without = 0
    for row in map(int, order):
        if len(built) == questions:
            break
        question = _question(documents, lengths, vectors, row, context, continuation)
        if question is None:
            without += 1
        else:
            built.append(question)
    built.sort(key=lambda question: question.row)
    counts = {
        "documents": len(documents),
        "long_enough": len(long_enough),
        "questions": len(built),
        "without_distractors": without,
    }
    return built, counts


def _question(
    documents: IndexedTokens, lengths: np.ndarray, vectors: np.ndarray, row: int, context: int, continuation: int
) -> Question | None:
    tokens = np.asarray(documents[row], np.int64)
    shown, true = tokens[:context], tokens[context : context + continuation]
    options, rows = [true], []
    # Stable sort: equal similarities go by row number.
    for other in map(int, np.argsort(-(vectors @ vectors[row]), kind="stable")):
        if other == row or lengths[other] < continuation:
            continue
        candidate = np.asarray(documents[other][: lengths[other]], np.int64)
        start = min(context, len(candidate) - continuation)
        span = candidate[start : start + continuation]
        if np.array_equal(candidate[:context], shown) or any(np.array_equal(span, taken) for taken in options):
            continue
        options.append(span)
        rows.append(other)
        if len(options) == OPTIONS:
            return Question(row, shown, np.stack(options), (rows[0], rows[1], rows[2]))
    return None


def answer(model: Any, questions: list[Question], *, end_of_document: int, batch_size: int, label: str) -> list[float]:
    """Lets a model answer: the option with the largest log-probability given the context is its choice.

    An end-of-document stands in front of the context, as before every document in training. All options have the same
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


def choice_summary(credits: list[float], counts: dict[str, int]) -> dict[str, Any]:
    """Accuracy with its binomial standard error sqrt(p (1 - p) / n); null with a reason when there is no question."""
    result: dict[str, Any] = {**counts, "chance": CHANCE, "accuracy": None, "stderr": None, "reason": None}
    if not credits:
        result["reason"] = (
            f"none of the {counts['documents']} test documents gives a question: {counts['long_enough']} are long "
            f"enough, {counts['without_distractors']} of them lack three usable neighbours"
        )
        return result
    share = sum(credits) / len(credits)
    result |= {"accuracy": share, "stderr": math.sqrt(share * (1 - share) / len(credits))}
    result["credits"] = [round(value, 6) for value in credits]
    return result
