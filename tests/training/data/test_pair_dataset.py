"""Packed pairs: what is predicted, from what, and that pairs do not see or change each other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split
from support.megatron_ranks import write_indexed

from megatron_sbp.training.data.index_cache import IndexCache
from megatron_sbp.training.data.pair_dataset import PairDataset

SEPARATOR, PADDING, END = 2, 1, 0


def dataset(prefix, mmap: bool = True, cache: IndexCache | None = None, **settings) -> PairDataset:
    settings = {"random_seed": 1, "sequence_length": 192, **settings}
    config = GPTDatasetConfig(
        **settings,
        blend_per_split=[None, None, None],
        tokenizer=SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    indexed = IndexedDataset(str(prefix), mmap=mmap)
    return PairDataset(
        indexed, str(prefix), 500, Split.train, config, separator=SEPARATOR, padding=PADDING, cache=cache
    )


@pytest.fixture
def pairs(corpus) -> PairDataset:
    return dataset(corpus / "pairs")


def plain(data: PairDataset, numbers: list[int]) -> dict[str, np.ndarray]:
    """The definition of a packed sequence, in plain NumPy."""
    length = data.config.sequence_length
    tokens, labels = np.full(length, PADDING), np.full(length, PADDING)
    mask, positions = np.zeros(length, np.float32), np.zeros(length, int)
    segments = np.full(length, len(numbers))
    at = 0
    for segment, pair in enumerate(numbers):
        seed, target = data.dataset[2 * pair], data.dataset[2 * pair + 1]
        whole = np.concatenate([seed, [SEPARATOR], target])
        end = at + len(whole) - 1
        tokens[at:end], labels[at:end] = whole[:-1], whole[1:]
        mask[at + len(seed) : end] = 1.0
        positions[at:end] = np.arange(end - at)
        segments[at:end] = segment
        at = end
    return {
        "tokens": tokens,
        "labels": labels,
        "loss_mask": mask,
        "position_ids": positions,
        "segments": segments,
    }


@pytest.mark.parametrize("mmap", [True, False])
def test_against_the_plain_definition(corpus, tmp_path, mmap):
    """Mapped, and read by Megatron's other readers; pairs with an empty or one-token half among them."""
    odd = [[[], [END]], [[5], [END]], [[5], []], [[5, 6], [7]], [[], []], [[], [7, 8, END]]]
    write_indexed(tmp_path / "odd", odd)
    for data in (dataset(corpus / "pairs", mmap), dataset(tmp_path / "odd", mmap, sequence_length=8)):
        assert (data.reader._tokens is not None) == mmap
        for number in range(len(data.packing)):
            begin, end = data.packing.starts[number : number + 2].tolist()
            wanted = plain(data, data.packing.order[begin:end].tolist())
            got = data.sequence(number)
            assert got.keys() == wanted.keys()
            for name, array in wanted.items():
                assert got[name].is_contiguous() and got[name].numpy().tolist() == array.tolist(), name
            assert {str(got[name].dtype) for name in got if name != "loss_mask"} == {"torch.int64"}
            assert str(got["loss_mask"].dtype) == "torch.float32"


def test_changing_one_pair_changes_no_other(corpus, tmp_path):
    """Other words, the same lengths: everything but that pair's own places stays, in every sequence."""
    before = dataset(corpus / "pairs")
    changed = 17
    contents = [[before.dataset[2 * i].tolist(), before.dataset[2 * i + 1].tolist()] for i in range(120)]
    contents[changed] = [[299] * len(contents[changed][0]), [298] * len(contents[changed][1])]
    write_indexed(tmp_path / "pairs", contents)
    after = dataset(tmp_path / "pairs")
    touched = 0
    for index in range(2 * len(before.packing)):
        one, other = before[index], after[index]
        for name in ("segments", "position_ids", "loss_mask"):
            assert (one[name] == other[name]).all()
        number = int(before._shuffle(index // len(before.packing))[index % len(before.packing)])
        begin, end = before.packing.starts[number : number + 2].tolist()
        numbers = before.packing.order[begin:end].tolist()
        own = one["segments"] == (numbers.index(changed) if changed in numbers else -1)
        for name in ("tokens", "labels"):
            assert (one[name][~own] == other[name][~own]).all()
        touched += int(own.sum())
        assert (other["labels"][own] != one["labels"][own]).any() == own.any().item()
    assert touched == 2 * (len(contents[changed][0]) + len(contents[changed][1]))  # once in each of two epochs


def test_pairs_that_do_not_fit_are_refused(pairs):
    with pytest.raises(ValueError, match="do not fit into one sequence"):
        pairs.assemble(range(50))


def test_documents_are_not_pairs(corpus):
    with pytest.raises(ValueError, match="not a dataset of pairs: 120 documents with 120 sequences"):
        dataset(corpus / "real")


def test_the_packing_is_made_once_for_all(corpus, tmp_path, pairs):
    """Beside the training, for as long as nothing that it follows from changes."""
    cache = IndexCache(tmp_path)
    one, same = dataset(corpus / "pairs", cache=cache), dataset(corpus / "pairs", cache=cache)
    assert len([*tmp_path.glob("pairs-packing-*.index")]) == 1
    for data in (one, same):
        assert not data.packing.order.flags.owndata and data.packing.fill == pairs.packing.fill
        assert (data[33]["tokens"] == pairs[33]["tokens"]).all()
    dataset(corpus / "pairs", cache=cache, random_seed=2)
    dataset(corpus / "pairs", cache=cache, sequence_length=256)
    dataset(corpus / "valid_pairs", cache=cache)
    assert len([*tmp_path.glob("*.index")]) == 4


def test_loss_is_on_the_target_and_its_end_only(pairs):
    item = pairs.assemble([4])
    seed, target = pairs.dataset[8], pairs.dataset[9]
    places = np.flatnonzero(item["loss_mask"].numpy())
    assert (item["labels"].numpy()[places] == target).all() and target[-1] == END
    assert places[0] == len(seed) and item["tokens"][len(seed)] == SEPARATOR
    assert (item["tokens"].numpy()[: len(seed)] == seed).all()
    assert (item["tokens"].numpy()[len(seed) + len(target) :] == PADDING).all()


def test_pairs_have_segments_and_positions_of_their_own(pairs):
    item = pairs.assemble([0, 5])
    first = len(pairs.dataset[0]) + len(pairs.dataset[1])
    second = len(pairs.dataset[10]) + len(pairs.dataset[11])
    assert item["segments"].tolist() == [0] * first + [1] * second + [2] * (192 - first - second)
    assert item["position_ids"][: first + second].tolist() == [*range(first), *range(second)]


def test_every_target_token_once_per_epoch(pairs):
    epoch = len(pairs.packing)
    predicted = np.concatenate([s["labels"][s["loss_mask"] > 0].numpy() for s in (pairs[i] for i in range(epoch))])
    targets = np.concatenate([pairs.dataset[2 * i + 1] for i in range(len(pairs.dataset) // 2)])
    assert sorted(predicted) == sorted(targets)


def test_epochs_differ_in_order_only(pairs):
    epoch = len(pairs.packing)
    one = [pairs[i]["tokens"].numpy().tobytes() for i in range(epoch)]
    two = [pairs[i]["tokens"].numpy().tobytes() for i in range(epoch, 2 * epoch)]
    assert one != two and sorted(one) == sorted(two)


def assembled_slowly(pairs: PairDataset, numbers: list[int]) -> dict[str, np.ndarray]:
    """What `assemble` must give, pair by pair, token by token."""
    length = pairs.config.sequence_length
    rows: dict[str, list] = {name: [] for name in ("tokens", "labels", "loss_mask", "position_ids", "segments")}
    for segment, pair in enumerate(numbers):
        seed, target = pairs.dataset[2 * pair].tolist(), pairs.dataset[2 * pair + 1].tolist()
        whole = [*seed, SEPARATOR, *target]
        rows["tokens"] += whole[:-1]
        rows["labels"] += whole[1:]
        rows["loss_mask"] += [0.0] * len(seed) + [1.0] * len(target)
        rows["position_ids"] += range(len(whole) - 1)
        rows["segments"] += [segment] * (len(whole) - 1)
    fill = {"tokens": PADDING, "labels": PADDING, "loss_mask": 0.0, "position_ids": 0, "segments": len(numbers)}
    return {name: np.array(row + [fill[name]] * (length - len(row))) for name, row in rows.items()}


@pytest.mark.parametrize("mapped", [True, False])
def test_assembled_as_by_the_plain_definition(pairs, mapped):
    if not mapped:
        pairs.reader.tokens = None  # as where the tokens are no local file
    for numbers in ([], [3], [7, 0, 11], [5, 5]):
        item, expected = pairs.assemble(numbers) if numbers or mapped else {}, assembled_slowly(pairs, numbers)
        for name, value in item.items():
            assert value.dtype == (torch.float32 if name == "loss_mask" else torch.int64)
            assert value.numpy().tolist() == expected[name].tolist(), name


def test_changing_one_pair_changes_nothing_of_another(pairs):
    one, other = pairs.assemble([4, 9, 2]), pairs.assemble([4, 7, 2])
    # 7 stands where 9 stood; what is of pairs 4 and 2 is the same, wherever it moved.
    for segment in (0, 2):
        for name in ("tokens", "labels", "loss_mask", "position_ids"):
            left, right = (item[name][item["segments"] == segment] for item in (one, other))
            assert left.tolist() == right.tolist(), name
