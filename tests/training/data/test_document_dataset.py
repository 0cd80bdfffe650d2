"""Sequences of documents: token counts per epoch, prefixes of longer runs, use once, orders that processes share."""

from __future__ import annotations

import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split
from support.megatron_ranks import write_indexed

from megatron_sbp.training.data import document_dataset
from megatron_sbp.training.data.document_dataset import DocumentDataset
from megatron_sbp.training.data.index_cache import IndexCache


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
    prefix = str(corpus / arguments.pop("name", "real"))
    indexed = IndexedDataset(prefix, mmap=arguments.pop("mmap", True))
    seed = arguments.pop("seed", 1)
    return DocumentDataset(indexed, prefix, samples, Split.train, config(length, seed), **arguments)


def plain_stream(data: DocumentDataset, epochs: int) -> np.ndarray:
    """Tokens of that many epochs, one after another."""
    return np.concatenate(
        [
            data.dataset[int(document)]
            for epoch in range(epochs)
            for document in np.random.default_rng([1, epoch, 0]).permutation(len(data.dataset))
        ]
    )


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("length", [96, 61, 5])
def test_against_the_plain_definition(corpus, tmp_path, length, mmap):
    """Every sample of four epochs, mapped and read by Megatron's other readers; with empty documents, too."""
    write_indexed(tmp_path / "real", [[list(range(3, 3 + n))] for n in (0, 9, 0, 1, 40, 0)])
    for folder in (corpus, tmp_path):
        data = dataset(folder, 10_000, length, mmap=mmap)
        stream = plain_stream(data, 6)
        for epoch in range(4):
            first, end = data.epochs.first_sample(epoch), data.epochs.first_sample(epoch + 1)
            places = first + np.random.default_rng([1, epoch, 1]).permutation(end - first)
            for index, place in enumerate(places, first):
                wanted = stream[place * length : (place + 1) * length + 1]
                item = data[index]
                assert item["tokens"].tolist() == wanted[:-1].tolist()
                assert item["labels"].tolist() == wanted[1:].tolist()
                assert str(item["tokens"].dtype) == str(item["labels"].dtype) == "torch.int64"


def test_used_once_against_the_plain_definition(corpus):
    data = dataset(corpus, 40, once=True)
    stream = plain_stream(data, 1)
    for index, place in enumerate(np.random.default_rng([1, 0, 3]).permutation(40)):
        assert data[index]["tokens"].tolist() == stream[place * 96 : (place + 1) * 96].tolist()


@pytest.fixture
def shared(monkeypatch, tmp_path) -> IndexCache:
    """A cache in which even small epochs are kept."""
    monkeypatch.setattr(document_dataset, "SMALL", 0)
    return IndexCache(tmp_path / "cache")


def finished(cache: IndexCache) -> None:
    """Waits for the threads that prepare the next epoch."""
    import threading

    for thread in threading.enumerate():
        if thread.name.startswith("prepare "):
            thread.join()


def test_shared_orders_give_the_same_samples(corpus, shared):
    """Another process, or a restart in the middle, reads what the first one made; three epochs are kept."""
    alone = dataset(corpus, 240)
    one, other = dataset(corpus, 240, cache=shared), dataset(corpus, 240, cache=shared)
    for index in range(len(alone)):
        assert (alone[index]["tokens"] == one[index]["tokens"]).all()
        assert (alone[index]["tokens"] == other[index]["tokens"]).all()
    finished(shared)
    kept = sorted(int(path.name.split("-")[1]) for path in shared.folder.glob("*.index"))
    last = alone.epochs.epoch_of(239)
    assert last >= 3 and kept[0] >= last - 1 and kept[-1] <= last + 1
    restarted = dataset(corpus, 240, cache=shared)
    assert (restarted[239]["tokens"] == alone[239]["tokens"]).all()


def test_the_start_makes_one_epoch_and_the_next_is_made_meanwhile(corpus, shared):
    data = dataset(corpus, 10_000, cache=shared)
    assert not shared.folder.exists(), "nothing is made before it is needed"
    data[data.epochs.first_sample(7)]
    finished(shared)
    assert sorted(path.name.split("-")[1] for path in shared.folder.glob("*.index")) == ["00007", "00008"]


def test_no_epoch_is_made_that_is_not_needed(corpus, shared):
    dataset(corpus, 20, cache=shared)[0]
    once = dataset(corpus, 20, cache=shared, once=True)
    once[0]
    finished(shared)
    assert sorted(path.name.split("-")[1] for path in shared.folder.glob("*.index")) == ["00000", "once"]


def test_other_documents_seed_or_length_have_other_orders(corpus, shared):
    for arguments in ({}, {"seed": 2}, {"length": 61}, {"name": "valid"}, {}):
        dataset(corpus, 10, cache=shared, once=True, **arguments)[0]
    assert len([*shared.folder.glob("*.index")]) == 4


def test_a_pickled_dataset_opens_its_files_anew(corpus):
    """As loaders do whose workers are not forked."""
    data = dataset(corpus, 100)
    data[0]
    pickled = pickle.dumps(data)
    assert len(pickled) < 10_000, "neither tokens nor orders"
    copy = pickle.loads(pickled)
    assert (copy[57]["tokens"] == data[57]["tokens"]).all()
    assert copy.reader._tokens is not data.reader._tokens


def test_tokens_that_are_missing_at_the_end_are_noticed(corpus, tmp_path):
    for suffix in (".idx", ".bin"):
        content = (corpus / f"real{suffix}").read_bytes()
        (tmp_path / f"real{suffix}").write_bytes(content[:-2] if suffix == ".bin" else content)
    with pytest.raises(ValueError, match=r"its .bin has .* its .idx describes"):
        dataset(tmp_path, 10)


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
    flat = np.concatenate([data.dataset[document] for document in epoch.documents.tolist()])
    expected = sorted(flat[i * 96 : (i + 1) * 96].tobytes() for i in range(whole))
    got = sorted(data[i]["tokens"].numpy().astype(flat.dtype).tobytes() for i in range(whole))
    assert got == expected


def test_once_refuses_more_than_there_is(corpus):
    whole = dataset(corpus, 1).epochs.samples_of_one_epoch()
    with pytest.raises(ValueError, match=f"{whole + 1} sequences.*only {whole}"):
        dataset(corpus, whole + 1, once=True)
