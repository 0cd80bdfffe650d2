"""Packed pairs: what is predicted, from what, and that pairs do not see each other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.pair_dataset import PairDataset

SEPARATOR, PADDING, END = 2, 1, 0


@pytest.fixture
def pairs(corpus) -> PairDataset:
    prefix = str(corpus / "pairs")
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=192,
        blend_per_split=[None, None, None],
        tokenizer=SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return PairDataset(IndexedDataset(prefix), prefix, 500, Split.train, config, SEPARATOR, PADDING)


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
