"""The quality sheet: what is measured on a group of texts beside real text of the same seeds and lengths.

Real text here is the seed documents themselves, each once, cut so that their lengths are those of the texts that were
written for them; their overlap with D does not count the document itself. Perplexity and the overlap of real text with
D are those of documents of the valid split, cut alike: the models have read the seed documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.evaluation import diversity
from megatron_sbp.evaluation.confidence import (
    LEVEL,
    RESAMPLES,
    estimate,
    mean_interval,
    pair,
    part,
    quantile_interval,
    ratio,
    share,
    share_interval,
)
from megatron_sbp.evaluation.diversity import Piece, block_shape, blocks_of, over_blocks, words_of
from megatron_sbp.overlap.ngram_novelty import NgramNovelty
from megatron_sbp.synthesis.synthesizer import ids_digest
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.truncation import cut_tokens

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS = 20


@dataclass(frozen=True)
class Sampled:
    """A text that is measured.

    Attributes:
        text: the text.
        tokens: of it, integers [n], without end-of-document.
        row: as it is on disk.
        own: row of D that the text is itself; -1 for none.
    """

    text: str
    tokens: np.ndarray
    row: JsonObject
    own: int = -1

    def cut(self, limit: int, tokenizer: TextTokenizer) -> Sampled:
        """Its beginning, at most this many tokens."""
        if len(self.tokens) <= limit:
            return self
        tokens = cut_tokens(self.tokens, limit, tokenizer.starts_character)
        return replace(self, text=tokenizer.decode(tokens), tokens=tokens)


def one_per_seed(sample: Sequence[Sampled]) -> list[Sampled]:
    """The first text of every seed document, since texts of one seed are meant to be alike; all without seeds."""
    found: dict[int, Sampled] = {}
    for place, one in enumerate(sample):
        row = one.row.get("seed_row")
        found.setdefault(-1 - place if row is None else row, one)
    return list(found.values())


def measure_groups(groups: Mapping[str, Sequence[Sampled]], novelty: NgramNovelty, seed: int) -> JsonObject:
    """Figures that compare groups of texts with each other and with D.

    Args:
        groups: texts by group; those of the real one are cut alike.
        novelty: has them, in the same order, and has seen D.
        seed: the run's seed.

    Returns:
        By group: `novel_ngrams_by_n` (share of word n-grams, n = 1 to 13, that D does not have), `distinct` (by n),
        `self_bleu`, `vocabulary_overlap` (share of the distinct words of a block that D has); each with `value`, `low`
        and `high`. `compared`: documents, blocks, and words per block, equal for all groups.
    """
    apart = {group: one_per_seed(texts) for group, texts in groups.items()}
    # In one random order, so that a part of a group represents all of it; the i-th texts of two groups stay together.
    order = np.random.default_rng([seed, Stream.QUALITY_ORDER]).permutation(max(map(len, apart.values()), default=0))
    apart = {group: [texts[place] for place in order.tolist() if place < len(texts)] for group, texts in apart.items()}
    words = {group: [words_of(one.text) for one in texts] for group, texts in apart.items()}
    blocks, size = block_shape([sum(map(len, found)) for found in words.values() if found])
    documents = min([diversity.BLEU_DOCUMENTS, *(sum(map(bool, found)) for found in words.values() if found)])
    result: JsonObject = {}
    for group, texts in apart.items():
        cut = blocks_of(words[group], blocks, size) if words[group] else []
        read = [found[: diversity.BLEU_WORDS] for found in words[group] if found][:documents]
        bleu = diversity.self_bleu(read)
        result[group] = {
            "novel_ngrams_by_n": _by_n(novelty.counts(group), seed),
            "distinct": {str(n): over_blocks(cut, _distinct(n)) for n in diversity.DISTINCT},
            "self_bleu": estimate(float(np.mean(bleu)) if bleu else None, mean_interval(bleu)),
            "vocabulary_overlap": over_blocks(cut, _overlap(novelty, texts)),
            "compared": {"bleu_documents": len(bleu), "blocks": len(cut), "block_words": size if cut else 0},
        }
    return result


def _by_n(counts: np.ndarray, seed: int) -> list[JsonObject]:
    """Share of novel n-grams for every n: int64 [texts, longest, 2]."""
    if not len(counts):
        return []
    return [
        {"n": n, "ngrams": int(whole.sum()), **part(novel, whole, seed)}
        for n, (novel, whole) in enumerate(counts.transpose(1, 2, 0), 1)
    ]


def _distinct(n: int) -> Callable[[Sequence[Piece]], float]:
    return lambda block: diversity.distinct(block, n)


def _overlap(novelty: NgramNovelty, texts: Sequence[Sampled]) -> Callable[[Sequence[Piece]], float]:
    """Share of the distinct words of a block that D has, in another document than the text's own."""

    def figure(block: Sequence[Piece]) -> float:
        known: dict[str, bool] = {}
        for place, words in block:
            for word, there in zip(words, novelty.known(words, texts[place].own).tolist(), strict=True):
                known[word] = known.get(word, False) or there
        return sum(known.values()) / len(known)

    return figure


def lengths(tokens: Sequence[int], limit: int, seed: int) -> JsonObject | None:
    """How long texts are, in tokens: `mean`, `quantiles` (exact intervals), and `histogram` with common edges.

    Args:
        tokens: of each text.
        limit: the longest that a text can be.
        seed: the run's seed.
    """
    if not len(tokens):
        return None
    found = np.sort(np.asarray(tokens, np.float64))
    edges = np.unique(np.linspace(0, limit + 1, _BINS + 1).round()).astype(int)
    values = np.quantile(found, QUANTILES)
    return {
        "mean": ratio(found, np.ones(len(found)), seed),
        "quantiles": {
            f"{level:g}": estimate(float(value), quantile_interval(found, level))
            for level, value in zip(QUANTILES, values.tolist(), strict=True)
        },
        # Tokenized again, a text can be a little longer than it was written: those are in the last bin.
        "histogram": {"edges": edges.tolist(), "documents": np.histogram(found.clip(max=edges[-1]), edges)[0].tolist()},
    }


def retokenized_counts(audit: Mapping[str, int] | None) -> dict[str, dict[str, float | None]]:
    """By group, the share of all texts whose tokens, as the tokenizer gives them for the text, are not those that were
    written.

    Args:
        audit: `retokenized` of the filters' audit; None where there is none, which gives no group.
    """
    if audit is None:
        return {}
    groups = {"generations": ("differing", "documents"), "synthetic": ("kept_differing", "kept")}
    counts = {group: (audit[found], audit[documents]) for group, (found, documents) in groups.items()}
    return {group: estimate(found / n if n else None, share_interval(found, n)) for group, (found, n) in counts.items()}


def retokenized(sample: Iterable[Sampled]) -> dict[str, float | None]:
    """`retokenized_counts` of a sample, for runs whose audit does not count such texts: by the digests in their rows.

    None where rows do not say what was written.
    """
    known = [one for one in sample if one.row.get("ids_digest")]
    return share([ids_digest(one.tokens) != one.row["ids_digest"] for one in known])


def retokenized_real(sample: Sequence[Sampled], tokenizer: TextTokenizer) -> dict[str, float | None]:
    """The same for real documents: ids to text and back."""
    again = tokenizer.encode_batch([tokenizer.decode(one.tokens) for one in sample])
    return share([ids != one.tokens.tolist() for ids, one in zip(again, sample, strict=True)])


SHARES = ("repetition", "copying", "finished", "duplicate")
"""Figures that are shares of documents."""


def share_intervals(figures: Mapping[str, JsonValue]) -> dict[str, list[float] | None]:
    """Exact intervals of the shares of documents among the figures of a group."""
    found = {}
    for name in SHARES:
        value, documents = figures[name], figures["duplicate_documents" if name == "duplicate" else "documents"]
        interval = None if value is None else share_interval(round(value * documents), documents)
        found[name] = pair(estimate(value, interval))
    return found


def count_intervals(counted: Mapping[str, np.ndarray], seed: int) -> dict[str, list[float] | None]:
    """Bootstrap intervals of figures that `overlap.novelty.Overlap.counts` gave: int64 [documents, 2] each."""
    return {name: pair(part(counts[:, 0], counts[:, 1], seed)) for name, counts in counted.items()}


def perplexities(
    groups: Mapping[str, Sequence[Sampled]],
    checkpoints: Mapping[str, Path],
    tokenizer: TextTokenizer,
    *,
    context: int,
    batch_size: int,
    seed: int,
    device: str,
) -> dict[str, JsonObject]:
    """Perplexity of every group under every model, by group and arm; see `text_perplexity.perplexity`.

    Args:
        groups: texts; those of the real one were not read by the models.
        checkpoints: Hugging Face checkpoints by arm.
        tokenizer: the run's.
        context: of the models, in tokens; what exceeds it is not read.
        batch_size: texts in one forward pass.
        seed: the run's seed.
        device: auto, cpu or cuda.
    """
    found: dict[str, JsonObject] = {group: {} for group in groups}
    for arm, checkpoint in checkpoints.items():
        import torch

        from megatron_sbp.base.device import compute_device
        from megatron_sbp.evaluation.model import load_model
        from megatron_sbp.evaluation.text_perplexity import document_losses, perplexity

        model = load_model(checkpoint, torch.device(compute_device(device)))
        for group, texts in groups.items():
            documents = [one.tokens[:context] for one in texts]
            sums = document_losses(
                model,
                documents,
                end_of_document=tokenizer.end_of_document,
                padding=tokenizer.padding,
                batch_size=batch_size,
                label=f"quality: {group} under {arm}",
            )
            found[group][arm] = perplexity(sums, documents, seed)
        del model  # before the next one takes its memory
    return found


def method() -> JsonObject:
    """How the intervals were made, for `limits`."""
    return {
        "level": LEVEL,
        "shares": "Clopper-Pearson",
        "shares of pairs": "Clopper-Pearson for the effective number of independent pairs",
        "ratios": f"bootstrap over documents, {RESAMPLES} resamples",
    }
