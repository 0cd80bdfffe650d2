"""From a data file to samples: exact blends, exact epochs over data-parallel ranks, and what is refused."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.training.datasets.data_samplers import MegatronPretrainingSampler
from support.megatron_ranks import END, PADDING, SEPARATOR, write_indexed

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.data import blended_dataset
from megatron_sbp.training.data.data_file import DataFile, Source, lock
from megatron_sbp.training.data.datasets import build_train, build_valid

TOKENIZER = SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={})


def data_file(folder: Path, sources: list[Source], **changes) -> Path:
    """A data file beside datasets in the same folder."""
    data = DataFile("documents", sources, Source("valid", "valid", 8), 96, 1, "strict", END, PADDING, SEPARATOR)
    path = folder / "data.json"
    dataclasses.replace(data, **changes).write(path)
    return path


def train(folder: Path, sources: list[Source], **changes):
    return build_train(data_file(folder, sources, **changes), TOKENIZER)


@pytest.fixture
def here(corpus, tmp_path) -> Path:
    """A folder with all datasets of the corpus."""
    for file in (*corpus.glob("*.idx"), *corpus.glob("*.bin")):
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def ranks(total: int, size: int, micro_batch: int, consumed: int = 0) -> list[list[int]]:
    """Samples of every data-parallel rank, by Megatron's sampler."""
    samplers = [MegatronPretrainingSampler(total, consumed, micro_batch, rank, size) for rank in range(size)]
    return [[index for batch in sampler for index in batch] for sampler in samplers]


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["mixed", "listed"])
def test_a_window_never_holds_a_seed_document_and_its_synthetic_text(tmp_path, order):
    """A training sequence is cut from one source, so real and synthetic documents never share a context."""
    rng, first_synthetic = np.random.default_rng(3), 150
    for name, low, high in (("synthetic", first_synthetic, 250), ("real", 10, first_synthetic), ("valid", 10, 250)):
        texts = [rng.integers(low, high, rng.integers(3, 40)).tolist() for _ in range(200)]
        write_indexed(tmp_path / name, [[[*text, END]] for text in texts])
    sources = [Source("synthetic", "synthetic", 16, once=True), Source("real", "real", 60)]
    blended = train(tmp_path, sources, sequence_length=64, order=order)
    kinds = []
    for item in blended:
        words = item["tokens"][item["tokens"] != END]
        kinds.append(bool((words >= first_synthetic).all()))
        assert kinds[-1] or bool((words < first_synthetic).all())
    assert sum(kinds) == 16 and len(kinds) == 76
    assert kinds == [True] * 16 + [False] * 60 if order == "listed" else not all(kinds[:16])


# -- epochs ------------------------------------------------------------------------------------------------------------


def numbered_documents(folder: Path, lengths: list[int]) -> None:
    """Document i is so many times the token i + 3, so that tokens tell documents apart."""
    write_indexed(folder / "real", [[[number + 3] * length] for number, length in enumerate(lengths)])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_after_k_epochs_every_document_was_seen_k_times(tmp_path, size, micro_batch):
    """Uneven documents, whose epochs end inside of samples: six of them are 35 samples of 24 tokens, and a resume."""
    lengths = [1, 50, 3, 0, 27, 8, 13, 2, 36]
    numbered_documents(tmp_path, lengths)
    assert sum(lengths) * 6 == 35 * 24
    total = -(-35 // (size * micro_batch)) * size * micro_batch  # rounded up to whole batches, as the launcher does
    data = train(tmp_path, [Source("real", "real", total)], sequence_length=24)
    stop = size * micro_batch * 3
    parts = [*ranks(stop, size, micro_batch), *ranks(total, size, micro_batch, consumed=stop)]
    assert sorted(index for part in parts for index in part) == list(range(total))
    seen: Counter[int] = Counter()
    for part in parts:
        for index in part:
            item = data[index]
            assert item["sample"] == index
            if index < 35:
                seen.update(item["tokens"].tolist())
    assert seen == {number + 3: 6 * length for number, length in enumerate(lengths) if length}


@pytest.mark.parametrize("epochs", ["strict", "joint"])
def test_a_run_of_20_epochs_begins_like_one_of_10_in_strict_epochs_only(here, epochs):
    short, long = (
        train(here, [Source("real", "real", count)], epochs=epochs)
        for count in (10 * 60, 20 * 60)  # 60 samples are an epoch of the corpus, roughly
    )
    same = [(short[index]["tokens"] == long[index]["tokens"]).all().item() for index in range(10 * 60)]
    assert all(same) == (epochs == "strict")


def test_joint_shuffle_is_megatrons_own(here):
    """By name, together with a dataset that is used once; a start after a kill in the middle of its index."""
    sources = [Source("real", "real", 150), Source("synthetic", "synthetic", 20, once=True)]
    data = train(here, sources, epochs="joint")
    assert all(isinstance(dataset, GPTDataset) for dataset in data.datasets)
    wanted = [GPTDataset.__getitem__(data.datasets[0], index)["tokens"] for index in range(150)]
    numbers = Counter(int(data[index]["dataset_id"]) for index in range(len(data)))
    assert numbers == {0: 150, 1: 20}
    joint = here / "cache" / "joint"
    (joint / "complete").unlink()
    broken = next(joint.glob("*document_index.npy"))
    broken.write_bytes(broken.read_bytes()[:-9])
    again = train(here, sources, epochs="joint")
    assert all((again.datasets[0][index]["tokens"] == wanted[index]).all() for index in range(150))


def joint_rank(rank: int, folder: Path, results) -> None:
    import torch

    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    data = build_train(folder / "data.json", TOKENIZER)
    results.put((rank, [data[index]["tokens"].tolist() for index in range(len(data))]))
    torch.distributed.destroy_process_group()


def test_joint_shuffle_on_two_ranks(here):
    """Megatron writes its index on rank 0 alone: the other must wait for it."""
    data_file(here, [Source("real", "real", 70)], epochs="joint")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=joint_rank, args=(rank, here, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert found[0] == found[1] and len(found[0]) == 70


# -- blends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(60, 20), (1000, 1), (1, 40), (7, 7)])
def test_every_source_gives_its_samples_to_the_sample(here, counts, monkeypatch):
    """Also one of a thousand; with an index of its own, and with one that processes share."""
    sources = [Source("real", "real", counts[0]), Source("synthetic", "synthetic", counts[1], once=True)]
    for limit in (1 << 20, 0):
        monkeypatch.setattr(blended_dataset, "SMALL", limit)
        data = train(here, sources)
        assert len(data) == sum(counts)
        used = Counter((int(item["dataset_id"]), item["sample"]) for item in (data[i] for i in range(len(data))))
        assert used == Counter((source, sample) for source, count in enumerate(counts) for sample in range(count))
        plain = BlendedDataset(data.datasets, list(counts), None, data.config)
        assert (data.dataset_index == plain.dataset_index).all()
        assert (data.dataset_sample_index == plain.dataset_sample_index).all()
        assert data.dataset_index.dtype == plain.dataset_index.dtype
    assert len([*(here / "cache").glob("blend-*.index")]) == 1


def test_a_single_source_needs_no_index(here):
    data = train(here, [Source("real", "real", 300)])
    assert len(data) == 300 and data.dataset_index.strides == (0,)
    assert [(int(item["dataset_id"]), item["sample"]) for item in map(data.__getitem__, (0, 7, 299))] == [
        (0, 0), (0, 7), (0, 299),
    ]  # fmt: skip


def test_synthetic_documents_are_used_once_and_whole(here):
    """All of their samples together are their stream of tokens, cut into sequences, each once."""
    lengths = np.fromfile(here / "synthetic.bin", np.uint16)
    whole = (len(lengths) - 1) // 96
    data = train(here, [Source("real", "real", 50), Source("synthetic", "synthetic", whole, once=True)])
    used = [item["tokens"] for item in (data[i] for i in range(len(data))) if item["dataset_id"] == 1]
    epoch = data.datasets[1].epochs.build(0)
    stream = np.concatenate([data.datasets[1].dataset[document] for document in epoch.documents.tolist()])
    wanted = [stream[place * 96 : place * 96 + 96].astype(np.int64).tobytes() for place in range(whole)]
    assert sorted(tokens.numpy().tobytes() for tokens in used) == sorted(wanted)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [0, -5])
def test_a_weight_that_is_not_positive_is_refused(here, samples):
    with pytest.raises(InputError, match=rf"data.json: 'synthetic': has {samples} samples; leave it out instead"):
        train(here, [Source("real", "real", 50), Source("synthetic", "synthetic", samples, once=True)])
    with pytest.raises(InputError, match=r"data.json: 'valid': has 0 samples"):
        build_valid(data_file(here, [], valid=Source("valid", "valid", 0)), TOKENIZER, 8)
    with pytest.raises(InputError, match=r"data.json: 'train': has no dataset"):
        train(here, [])


@pytest.mark.parametrize("epochs", ["strict", "joint"])
def test_more_than_one_epoch_of_a_source_used_once_is_refused(here, epochs):
    whole = (np.fromfile(here / "synthetic.bin", np.uint16).size - 1) // 96
    train(here, [Source("synthetic", "synthetic", whole, once=True)], epochs=epochs)
    with pytest.raises(InputError, match=rf"/synthetic: 'synthetic': {whole + 1} sequences.*only {whole} of 96 tokens"):
        train(here, [Source("synthetic", "synthetic", whole + 1, once=True)], epochs=epochs)


@pytest.mark.parametrize("epochs", ["strict", "joint"])
@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "the dataset is empty: it has 0 sequences"),
        ([[[]], [[]]], "its 0 tokens do not fill one sequence of 96"),
        ([[[5] * 40], [[6] * 56]], "its 96 tokens do not fill one sequence of 96 and the label after it"),
    ],
)
def test_a_dataset_shorter_than_a_sequence_is_refused(here, tmp_path, epochs, documents, message):
    from megatron_sbp.tokenization.indexed import write_indexed as write

    with write(tmp_path / "short", np.uint16) as writer:
        tokens = np.array([token for document in documents for token in document[0]], np.uint16)
        writer.add(tokens, np.array([len(document[0]) for document in documents], np.int32))
    for call in (
        lambda: train(here, [Source("odd", "short", 3)], epochs=epochs),
        lambda: build_valid(data_file(here, [], valid=Source("odd", "short", 3), epochs=epochs), TOKENIZER, 8),
    ):
        with pytest.raises(InputError, match=f"/short: 'odd': {message}"):
            call()


def test_a_dataset_that_fills_exactly_one_sequence_is_used(here, tmp_path):
    write_indexed(tmp_path / "exact", [[[5] * 40], [[6] * 57]])
    data = train(here, [Source("exact", "exact", 5), Source("once", "exact", 1, once=True)])
    assert all(len(data[index]["tokens"]) == 96 for index in range(6))


def test_missing_and_damaged_files_are_named(here):
    with pytest.raises(InputError, match=r"nothing.idx: 'real': no such file"):
        train(here, [Source("real", "nothing", 3)])
    index = (here / "real.idx").read_bytes()
    (here / "cut.idx").write_bytes(index[:-1])
    (here / "cut.bin").symlink_to(here / "real.bin")
    with pytest.raises(InputError, match=r"cut.idx: 'real': damaged or truncated index"):
        train(here, [Source("real", "cut", 3)])
    (here / "cut.idx").write_bytes(index)
    (here / "cut.bin").unlink()
    (here / "cut.bin").write_bytes((here / "real.bin").read_bytes()[:-2])
    with pytest.raises(InputError, match=r"cut.bin: 'real': has .* bytes, but cut.idx describes"):
        train(here, [Source("real", "cut", 3)])


def test_pairs_that_do_not_fit_or_are_none_are_refused(here):
    pairs = [Source("pairs", "pairs", 10)]
    with pytest.raises(InputError, match=r"/pairs: 'pairs': a pair of \d+ tokens does not fit into a sequence of 32"):
        train(here, pairs, kind="pairs", sequence_length=32)
    with pytest.raises(InputError, match=r"/real: 'pairs': not a dataset of pairs: 120 documents with 120 sequences"):
        train(here, [Source("pairs", "real", 10)], kind="pairs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "jiont"}, "'epochs': must be strict or joint, not 'jiont'"),
        ({"kind": "triples"}, "'kind': must be documents or pairs, not 'triples'"),
        ({"sequence_length": 0}, "'sequence_length': must be positive, not 0"),
    ],
)
def test_a_data_file_with_an_unknown_word_is_refused(here, changes, message):
    path = data_file(here, [Source("real", "real", 3)], **changes)
    with pytest.raises(InputError, match=message):
        lock(path, resumed=False)
    with pytest.raises(InputError, match=message):
        build_train(path, TOKENIZER)
