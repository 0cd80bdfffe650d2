from __future__ import annotations

import pytest

from megatron_sbp.documents import input_groups as module
from megatron_sbp.documents.input_groups import input_groups


@pytest.fixture
def files_of(tmp_path, monkeypatch):
    for name, value in {"ALONE": 8, "MOST": 8, "FEWEST": 2, "SIZE": 1000}.items():
        monkeypatch.setattr(module, name, value)

    def made(sizes: list[int]):
        paths = [tmp_path / f"{number:03d}.jsonl" for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes(b"x" * size)
        return paths

    return made


def test_few_files_are_a_group_each(files_of):
    assert input_groups(files_of([5, 0, 10_000, 3, 3, 3, 3, 3])) == [range(n, n + 1) for n in range(8)]


@pytest.mark.parametrize(
    "sizes",
    [
        [100] * 9,
        [100] * 100,
        [0] * 30,
        [1] * 20 + [5000] + [1] * 20,
        [10 * (n % 7) for n in range(75)],
        [9000] + [1] * 8,
    ],
)
def test_many_files_are_runs_of_about_as_many_bytes(files_of, sizes):
    groups = input_groups(files_of(sizes))
    assert [place for group in groups for place in group] == list(range(len(sizes)))
    bytes_ = [sum(sizes[place] for place in group) for group in groups]
    wanted = min(8, max(2, (sum(sizes) + len(sizes)) // 1000))
    assert len(groups) <= wanted and max(bytes_) <= sum(sizes) / wanted + max(sizes) + len(sizes)


def test_files_of_one_size_are_divided_evenly(files_of):
    assert [len(group) for group in input_groups(files_of([1000] * 80))] == [10] * 8
    assert [len(group) for group in input_groups(files_of([49] * 80))] == [20] * 4  # of 1,000 bytes
    assert [len(group) for group in input_groups(files_of([3] * 80))] == [40] * 2
