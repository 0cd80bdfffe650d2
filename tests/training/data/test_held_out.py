"""Validation data that Megatron asks for without end: the same sequences at every evaluation."""

from __future__ import annotations

import torch

from megatron_sbp.training.data.held_out import HeldOut


class Sequences(torch.utils.data.Dataset):
    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        assert 0 <= index < self.count
        return {"tokens": torch.full((4,), index), "loss_mask": torch.ones(4)}


def numbers(dataset: HeldOut, first: int, count: int) -> list[int]:
    return [int(dataset[place]["tokens"][0]) for place in range(first, first + count)]


def test_every_evaluation_reads_the_same_sequences():
    dataset = HeldOut(Sequences(10), 4, 1_000)
    assert len(dataset) == 1_000
    assert numbers(dataset, 0, 8) == [0, 1, 2, 3] * 2 == numbers(dataset, 400, 8)


def test_what_fills_the_batch_has_no_loss_and_harms_nothing():
    whole = Sequences(3)
    dataset = HeldOut(whole, 4, 100)
    masks = [float(dataset[place]["loss_mask"].sum()) for place in range(8)]
    assert masks == [4.0, 4.0, 4.0, 0.0] * 2
    assert float(whole[0]["loss_mask"].sum()) == 4.0
    assert dataset[3]["dataset_id"] == dataset[0]["dataset_id"] == 0
