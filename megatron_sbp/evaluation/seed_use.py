"""Whether the synthesizer reads its seed or recites: loss on unseen pairs, with the true seed and a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.progress import Progress
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.evaluation.scoring import token_losses
from megatron_sbp.evaluation.statistics import ratio_stderr
from megatron_sbp.tokenization.indexed import IndexedTokens, open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def measure_reading(
    *,
    checkpoint: Path,
    tokenizer: Path,
    pairs: Path,
    pair_tokens: Path,
    at_most: int,
    batch_size: int,
    seed: int,
    device: str,
) -> JsonObject:
    """What the synthesizer reads from its seed documents, on pairs it has not seen: see `reading`.

    Args:
        checkpoint: folder of the synthesizer's Hugging Face checkpoint.
        tokenizer: folder of the tokenizer.
        pairs: parquet of pairs with the columns seed and target (row numbers).
        pair_tokens: prefix of the IndexedDataset of the same pairs.
        at_most: pairs measured.
        batch_size: pairs in one forward pass.
        seed: the run's seed.
        device: cpu, cuda or auto.
    """
    import pyarrow.parquet
    import torch

    from megatron_sbp.base.device import compute_device
    from megatron_sbp.evaluation.model import load_model

    text = load_tokenizer(tokenizer)
    table = pyarrow.parquet.read_table(pairs, columns=["seed", "target"])
    return reading(
        load_model(checkpoint, torch.device(compute_device(device))),
        open_indexed(pair_tokens),
        (table["seed"].to_numpy(), table["target"].to_numpy()),
        separator=text.separator,
        padding=text.padding,
        at_most=at_most,
        seed=seed,
        batch_size=batch_size,
    )


def wrong_seeds(seeds: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """For every pair another pair, drawn at random, whose seed document can serve as a wrong seed.

    Args:
        seeds: rows of the seed documents of all pairs, int64 [pairs].
        targets: rows of their targets.
        seed: the run's seed.

    Returns:
        int64 [pairs]: the place of a pair whose seed document is neither this pair's target nor paired with it; -1
        where 100 draws found none.
    """
    related: dict[int, set[int]] = {}
    for one, other in zip(seeds.tolist(), targets.tolist(), strict=True):
        related.setdefault(other, {other}).add(one)
    random = np.random.default_rng([seed, Stream.READING])
    found = np.full(len(seeds), -1)
    for place, target in enumerate(targets.tolist()):
        for other in random.integers(0, len(seeds), 100).tolist():
            if int(seeds[other]) not in related[target]:
                found[place] = other
                break
    return found


def reading(
    model: PreTrainedModel,
    pairs: IndexedTokens,
    rows: tuple[np.ndarray, np.ndarray],
    *,
    separator: int,
    padding: int,
    at_most: int,
    seed: int,
    batch_size: int,
) -> JsonObject:
    """Measures the loss on targets, given their own seed documents and given wrong ones.

    Args:
        model: the synthesizer, a causal language model of transformers.
        pairs: tokens of pairs of unseen documents: per pair two sequences, seed and target.
        rows: seed and target rows of the same pairs, int64 [pairs] each.
        separator: id of the token between seed and target.
        padding: id of a token that fills a batch; it is never attended to.
        at_most: pairs measured.
        seed: the run's seed.
        batch_size: pairs in one forward pass.

    Returns:
        `pairs` measured, `loss_true_seed` and `loss_wrong_seed` (nats per target token), `gain` (the second minus the
        first: what is read from the seed; 0 for a synthesizer that only remembers) and `gain_stderr` (over seed
        documents). Null where there are no two unrelated pairs.
    """
    seeds, targets = rows
    assert len(pairs) == 2 * len(seeds), (len(pairs), len(seeds))
    others = wrong_seeds(seeds, targets, seed)
    usable = np.flatnonzero(others >= 0)
    chosen = usable[choose(len(usable), at_most, seed, Stream.READING)]
    result: JsonObject = {"pairs": len(chosen), "loss_true_seed": None, "loss_wrong_seed": None}
    result |= {"gain": None, "gain_stderr": None}
    if not len(chosen):
        return result
    counts = np.array([len(pairs[2 * place + 1]) for place in chosen.tolist()])
    sums = {}
    for name, places in (("true", chosen), ("wrong", others[chosen])):
        spans = [
            (pairs[2 * given], pairs[2 * place + 1])
            for given, place in zip(places.tolist(), chosen.tolist(), strict=True)
        ]
        sums[name] = _target_losses(
            model,
            spans,
            separator=separator,
            padding=padding,
            batch_size=batch_size,
            label=f"synthesizer: {name} seeds",
        )
    gained = sums["wrong"] - sums["true"]
    documents, owner = np.unique(seeds[chosen], return_inverse=True)
    by_document = np.bincount(owner, gained, len(documents)), np.bincount(owner, counts, len(documents))
    return result | {
        "loss_true_seed": float(sums["true"].sum() / counts.sum()),
        "loss_wrong_seed": float(sums["wrong"].sum() / counts.sum()),
        "gain": float(gained.sum() / counts.sum()),
        "gain_stderr": ratio_stderr(*by_document),
    }


def _target_losses(
    model: PreTrainedModel,
    spans: list[tuple[np.ndarray, np.ndarray]],
    *,
    separator: int,
    padding: int,
    batch_size: int,
    label: str,
) -> np.ndarray:
    """Nats of every target after its seed and the separator: float64 [pairs]."""
    sums = np.zeros(len(spans))
    order = sorted(range(len(spans)), key=lambda place: -sum(map(len, spans[place])))
    with Progress(label, len(spans), "pairs") as progress:
        for at in range(0, len(order), batch_size):
            batch = order[at : at + batch_size]
            rows = np.full((len(batch), max(sum(map(len, spans[place])) for place in batch) + 1), padding, np.int64)
            for row, place in enumerate(batch):
                seed, target = spans[place]
                rows[row, : len(seed) + 1 + len(target)] = np.concatenate([seed, [separator], target])
            losses = token_losses(model, rows).astype(np.float64)  # causal: what follows a target changes nothing
            for row, place in enumerate(batch):
                seed, target = spans[place]
                sums[place] = losses[row, len(seed) : len(seed) + len(target)].sum()
            progress.advance(len(batch))
    return sums
