"""Sequences of documents: token counts per epoch, prefixes of longer runs, use once."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.document_dataset import DocumentDataset


def config(length: int, seed: int = 1) -> GPTDatasetConfig:
    return GPTDatasetConfig(
        random_seed=seed,
        sequence_length=length,
        blend_per_split=[None, None, None],
        tokenizer=SimpleNamespace(vocab_size=300, eod=0, pad=1, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )


def dataset(corpus, samples: int, length: int = 96, **arguments) -> DocumentDataset:
    prefix = str(corpus / "real")
    seed = arguments.pop("seed", 1)
    return DocumentDataset(IndexedDataset(prefix), prefix, samples, Split.train, config(length, seed), **arguments)


def test_labels_are_the_next_tokens(corpus):
    item = dataset(corpus, 10)[3]
    assert item["tokens"].shape == item["labels"].shape == item["loss_mask"].shape == (96,)
    assert (item["tokens"][1:] == item["labels"][:-1]).all()
    assert item["sample"] == 3 and item["loss_mask"].all()
    assert (item["position_ids"] == np.arange(96)).all()


@pytest.mark.parametrize("length", [96, 61])
def test_k_epochs_of_samples_hold_every_token_k_times(corpus, length):
    """All samples that begin in the first k epochs: every token k times, but for those that reach over the edge."""
    data = dataset(corpus, 10_000, length)
    lengths = data.dataset.index.sequence_lengths
    per_epoch = Counter(np.concatenate([data.dataset[i] for i in range(len(lengths))]).tolist())
    k = 3
    end = data.epochs.first_sample(k)
    seen = Counter(np.concatenate([data[i]["tokens"].numpy() for i in range(end)]).tolist())
    beyond = end * length - k * data.epochs.tokens
    assert 0 <= beyond < length
    surplus = {token: seen[token] - k * count for token, count in per_epoch.items()}
    assert sum(surplus.values()) == beyond and min(surplus.values()) >= 0


def test_a_longer_run_begins_like_a_shorter_one(corpus):
    short, long = dataset(corpus, 100), dataset(corpus, 1000)
    for index in (0, 1, 57, 99):
        assert (short[index]["tokens"] == long[index]["tokens"]).all()


def test_another_seed_gives_another_order(corpus):
    one, other = dataset(corpus, 10, seed=1), dataset(corpus, 10, seed=2)
    assert any((one[i]["tokens"] != other[i]["tokens"]).any() for i in range(10))


def test_once_uses_no_token_twice(corpus):
    """Windows of the stream do not overlap: every sample's tokens stand at their own place of the epoch."""
    whole = dataset(corpus, 1).epochs.samples_of_one_epoch()
    data = dataset(corpus, whole, once=True)
    assert len(data) == whole
    epoch = data.epochs.build(0)
    flat = np.concatenate([data.dataset[int(document)] for document in epoch.documents])
    expected = sorted(flat[i * 96 : (i + 1) * 96].tobytes() for i in range(whole))
    got = sorted(data[i]["tokens"].numpy().astype(flat.dtype).tobytes() for i in range(whole))
    assert got == expected


def test_once_refuses_more_than_there_is(corpus):
    whole = dataset(corpus, 1).epochs.samples_of_one_epoch()
    with pytest.raises(ValueError, match=f"{whole + 1} sequences.*only {whole}"):
        dataset(corpus, whole + 1, once=True)
