"""Megatron's checkpoint folders: parts of tensors, put together from chunks of any layout."""

from __future__ import annotations

import pytest
import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import torch_dist
from megatron_sbp.checkpoint.torch_dist import Chunk, TorchDistReader, write_torch_dist

MATRIX = torch.arange(48, dtype=torch.float32).reshape(8, 6)
VECTOR = torch.tensor([1.0, 2.0, 3.0]).bfloat16()


def chunks(tensor: torch.Tensor, name: str, *places: tuple[tuple[int, ...], tuple[int, ...]]) -> list[Chunk]:
    def values(offset, size):
        return lambda: tensor[tuple(slice(b, b + s) for b, s in zip(offset, size, strict=True))]

    shape = tuple(tensor.shape)
    return [Chunk(name, shape, offset, size, tensor.dtype, values(offset, size)) for offset, size in places]


LAYOUTS = {
    "one": [((0, 0), (8, 6))],
    "rows": [((0, 0), (3, 6)), ((3, 0), (5, 6))],
    "columns": [((0, 0), (8, 1)), ((0, 1), (8, 5))],
    "tiles": [((0, 0), (4, 3)), ((0, 3), (4, 3)), ((4, 0), (4, 3)), ((4, 3), (4, 3))],
}


@pytest.fixture(params=LAYOUTS)
def reader(tmp_path, request) -> TorchDistReader:
    parts = [*chunks(MATRIX, "matrix", *LAYOUTS[request.param]), *chunks(VECTOR, "vector", ((0,), (3,)))]
    write_torch_dist(tmp_path / "iter", parts, {"extra/shard_0_1": {"a": 1}})
    return TorchDistReader(tmp_path / "iter")


def test_shapes_and_types(reader):
    assert reader.shapes == {"matrix": (8, 6), "vector": (3,)}
    assert (reader.dtype("matrix"), reader.dtype("vector")) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(("offset", "size"), [((0, 0), (8, 6)), ((2, 1), (4, 4)), ((7, 5), (1, 1)), ((3, 0), (1, 6))])
def test_any_part_from_any_layout(reader, offset, size):
    rows, columns = (slice(b, b + s) for b, s in zip(offset, size, strict=True))
    assert torch.equal(reader.read("matrix", offset, size, torch.float32), MATRIX[rows, columns])


def test_types_are_converted(reader):
    assert torch.equal(reader.read("vector", (1,), (2,), torch.float32), torch.tensor([2.0, 3.0]))


def test_a_hole_is_an_error_with_both_numbers(tmp_path):
    write_torch_dist(tmp_path / "iter", chunks(MATRIX, "matrix", ((0, 0), (4, 6)), ((5, 0), (3, 6))), {})
    reader = TorchDistReader(tmp_path / "iter")
    assert torch.equal(reader.read("matrix", (5, 0), (3, 6), torch.float32), MATRIX[5:])
    with pytest.raises(InputError, match="'matrix': 42 of 48 values are in the checkpoint"):
        reader.read("matrix", (0, 0), (8, 6), torch.float32)


def test_what_is_no_checkpoint_and_a_truncated_file(tmp_path, reader):
    with pytest.raises(InputError, match="is not a torch_dist checkpoint"):
        TorchDistReader(tmp_path)
    for file in (tmp_path / "iter").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be read") as caught:
        reader.read("matrix", (0, 0), (8, 6), torch.float32)
    assert caught.value.key == "matrix"


def test_a_file_has_one_tensor_and_not_too_many_bytes(monkeypatch):
    monkeypatch.setattr(torch_dist, "FILE_BYTES", 90)
    parts = [*chunks(MATRIX, "matrix", *LAYOUTS["tiles"]), *chunks(VECTOR, "vector", ((0,), (3,)))]
    found = torch_dist._spread(parts[::-1])
    assert [len(file) for file in found] == [2, 2, 1] and all(
        len({chunk.name for chunk in file}) == 1 for file in found
    )


@pytest.mark.parametrize("word", [b"torch", b"sizes", b"MetadataIndex", b"state_dict_metadata"])
def test_a_damaged_description_is_named(tmp_path, word):
    """A pickle that cannot be read raises anything; it was a traceback."""
    write_torch_dist(tmp_path, chunks(VECTOR, "vector", ((0,), (3,))), {})
    described = (tmp_path / ".metadata").read_bytes()
    assert word in described
    (tmp_path / ".metadata").write_bytes(described.replace(word, word[:-1] + b"~"))
    with pytest.raises(InputError, match=r"is not a torch_dist checkpoint|cannot be read"):
        TorchDistReader(tmp_path).read("vector", (0,), (3,), torch.float32)
