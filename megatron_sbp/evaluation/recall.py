"""Closed-book recall: whether a model ranks the true answer first, given the question alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.choice import credit
from megatron_sbp.evaluation.questions import ClozeQuestion
from megatron_sbp.evaluation.statistics import ratio_stderr
from megatron_sbp.tokenization.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOGITS = 1 << 25
"""Logits computed at once: 128 MB of float32."""

MANY = 3
"""Groups with this many documents in D or more are reported together."""


class Encoded:
    """A question in tokens.

    Attributes:
        context: end-of-document, then the tokens that prompt and all choices have in common.
        choices: what follows it, for every choice.
    """

    def __init__(self, prompt: list[int], wholes: list[list[int]], end_of_document: int):
        shared = min(_common(prompt, whole) for whole in wholes)
        self.context = (end_of_document, *prompt[:shared])
        self.choices = [tuple(whole[shared:]) for whole in wholes]


class RecallQuestions:
    """Questions in tokens, encoded once and asked of any number of models.

    Args:
        questions: at least one.
        tokenizer: the run's.
        file: the questions' file, for messages.
        documents: documents in D per group (`documents_by_group`), or None.
        sequence_length: as for `encode_questions`.

    Raises:
        InputError: see `encode_questions`.
    """

    def __init__(
        self,
        questions: Sequence[ClozeQuestion],
        tokenizer: TextTokenizer,
        file: Path,
        documents: Mapping[str, int] | None = None,
        sequence_length: int | None = None,
    ):
        self._questions, self._documents = questions, documents
        self._encoded = encode_questions(questions, tokenizer, file, sequence_length)

    def ask(self, model: PreTrainedModel, batch_size: int, label: str) -> JsonObject:
        """The figures of `recall_summary` for a model; arguments as for `choice_scores`."""
        scores = choice_scores(model, self._encoded, batch_size, label)
        return recall_summary(self._questions, scores, self._documents)


def encode_questions(
    questions: Sequence[ClozeQuestion], tokenizer: TextTokenizer, file: Path, sequence_length: int | None = None
) -> list[Encoded]:
    """Tokens of `PROMPT CHOICE`, split where the prompt ends.

    A tokenizer may merge across the end of the prompt; what prompt and choices do not have in common then counts as
    part of the choices.

    Args:
        questions: see there.
        tokenizer: the run's.
        file: the questions' file, for messages.
        sequence_length: tokens that the models can read; None for any number.

    Raises:
        InputError: a question is longer, or the tokens of one choice begin with those of another (or are the same): the
            shorter one could never be less probable. Names file and line.
    """
    texts = [text for q in questions for text in (q.prompt, *(f"{q.prompt} {choice}" for choice in q.choices))]
    ids = iter(tokenizer.encode_batch(texts))
    encoded = []
    for question in questions:
        prompt = next(ids)
        made = Encoded(prompt, [next(ids) for _ in question.choices], tokenizer.end_of_document)
        length = len(made.context) + max(map(len, made.choices)) - 1  # nothing follows the last token
        if sequence_length is not None and length > sequence_length:
            raise InputError(
                f"the question has {length:,} tokens with its longest choice, but the models read "
                f"{sequence_length:,} (model.sequence_length)",
                file=question.file or file,
                line=question.line,
                key="prompt",
            )
        order = sorted(range(len(made.choices)), key=made.choices.__getitem__)
        for one, other in pairwise(order):
            if made.choices[other][: len(made.choices[one])] == made.choices[one]:
                alike = "tokenize alike" if made.choices[one] == made.choices[other] else "begin with the same tokens"
                raise InputError(
                    f"{question.choices[one]!r} and {question.choices[other]!r} {alike}, so the second could never win",
                    file=question.file or file,
                    line=question.line,
                    key="choices",
                )
        encoded.append(made)
    return encoded


def _common(first: list[int], second: list[int]) -> int:
    """Tokens with which both begin; at least one of `second` is left over."""
    count = 0
    for one, other in zip(first, second[:-1], strict=False):
        if one != other:
            break
        count += 1
    return count


@torch.inference_mode()
def choice_scores(model: PreTrainedModel, encoded: list[Encoded], batch_size: int, label: str) -> list[np.ndarray]:
    """Log-probability of every choice given its context: the sum over its tokens, so that it is that of the text.

    No length normalization: a choice of more tokens has a smaller probability only as far as the model says so. Where
    choices differ in length by nature, frequent and short ones are favored by every model alike.

    Args:
        model: a causal language model of transformers.
        encoded: the questions.
        batch_size: sequences in one forward pass, at most.
        label: what the progress says.

    Returns:
        Per question float64 [choices], in nats.
    """
    # Choices of one token share one row, their context; rows are batched by length, so nothing is padded.
    wanted: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, question in enumerate(encoded):
        for place, choice in enumerate(question.choices):
            wanted[question.context + choice[:-1]].append((number, place))
    by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in wanted:
        by_length[len(row)].append(row)
    scores = [np.zeros(len(question.choices)) for question in encoded]
    entries, device = model.get_input_embeddings().num_embeddings, next(model.parameters()).device
    with Progress(label, len(wanted), "sequences") as progress:
        for length, rows in sorted(by_length.items()):
            size = max(1, min(batch_size, _LOGITS // (length * entries)))
            for at in range(0, len(rows), size):
                batch = rows[at : at + size]
                inputs = torch.tensor(batch, dtype=torch.long, device=device)
                found = model(input_ids=inputs, use_cache=False).logits.float().log_softmax(-1).cpu().numpy()
                for row, log_probabilities in zip(batch, found, strict=True):
                    for number, place in wanted[row]:
                        choice = encoded[number].choices[place]
                        places = np.arange(length - len(choice), length)
                        scores[number][place] = log_probabilities[places, choice].astype(np.float64).sum()
                progress.advance(len(batch))
    return scores


def recall_summary(
    questions: Sequence[ClozeQuestion], scores: list[np.ndarray], documents: Mapping[str, int] | None
) -> JsonObject:
    """The figures of one arm.

    Args:
        questions: see there.
        scores: of `choice_scores`.
        documents: documents in D per group (`documents_by_group`), or None.

    Returns:
        `questions`, `groups`, `recall` (share of questions whose answer ranks first; m equal ones share the credit),
        `stderr` (over groups), `chance`; `by_tag` and `by_documents` (groups with 0, 1, 2, 3+ documents in D; null
        without) with the same figures; `group_credits` and `group_questions`, so that arms can be compared group by
        group.
    """
    credits = np.array([_credit(row, q.answer) for row, q in zip(scores, questions, strict=True)])
    groups = [f"line {q.line} of {q.file}" if q.group is None else f"group {q.group}" for q in questions]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([numbers[group] for group in groups])

    def figures(chosen: Iterable[int]) -> JsonObject:
        places = np.array(list(chosen), np.int64)
        sums = np.bincount(owner[places], credits[places], len(numbers))
        counts = np.bincount(owner[places], minlength=len(numbers))
        there = counts > 0
        return {
            "questions": len(places),
            "groups": int(there.sum()),
            "recall": float(credits[places].mean()),
            "stderr": ratio_stderr(sums[there], counts[there]),
            "chance": float(np.mean([questions[place].chance for place in places])),
        }

    def divided(key: Callable[[ClozeQuestion], str | None]) -> JsonObject:
        parts: dict[str, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            name = key(question)
            if name is not None:
                parts[name].append(place)
        return {name: figures(parts[name]) for name in sorted(parts)}

    def many(question: ClozeQuestion) -> str:
        assert documents is not None and question.group is not None
        count = documents[question.group]
        return str(count) if count < MANY else f"{MANY}+"

    return {
        **figures(range(len(questions))),
        "by_tag": divided(lambda question: question.tag),
        "by_documents": None if documents is None else divided(many),
        "group_credits": np.bincount(owner, credits).round(6).tolist(),
        "group_questions": np.bincount(owner).tolist(),
    }


def _credit(scores: np.ndarray, answer: int) -> float:
    return credit(np.concatenate([scores[answer : answer + 1], np.delete(scores, answer)]))
