"""Names and shapes, Megatron and Hugging Face: there and back without loss, every tensor once."""

from __future__ import annotations

import math

import pytest
import torch
from support.made_up_model import shape

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.mapping import (
    EMBEDDING,
    OUTPUT,
    check_shape,
    expected_shapes,
    pieces,
    to_hugging_face,
    to_megatron,
)

MODELS = {
    "qwen3": shape(True, True),
    "llama": shape(False, False),
    "one group": shape(True, False, groups=1),
    "as many groups as heads": shape(False, True, groups=6),
}
VOCABULARY = 40


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name):
    model = MODELS[name]
    generator = torch.Generator().manual_seed(3)
    for piece in pieces(model, VOCABULARY):
        tensor = torch.randn(piece.size, generator=generator)
        theirs = dict(to_hugging_face(piece, tensor, model))
        assert tuple(theirs) == piece.names
        assert tuple(tuple(value.shape) for value in theirs.values()) == piece.shapes
        assert torch.equal(to_megatron(piece, list(theirs.values()), model), tensor)


@pytest.mark.parametrize("name", MODELS)
def test_pieces_cover_every_tensor_exactly_once(name):
    model = MODELS[name]
    covered = {
        key: torch.zeros([VOCABULARY if size == -1 else size for size in wanted], dtype=torch.int)
        for key, wanted in expected_shapes(model, VOCABULARY).items()
    }
    names = []
    for piece in pieces(model, VOCABULARY):
        place = tuple(slice(begin, begin + size) for begin, size in zip(piece.offset, piece.size, strict=True))
        covered[piece.megatron][place] += 1
        names += piece.names
        assert sum(map(math.prod, piece.shapes)) == math.prod(piece.size)
    assert all(bool((count == 1).all()) for count in covered.values())
    assert len(set(names)) == len(names)
    assert ("lm_head.weight" in names) == (not model.tied_embeddings)


def test_query_key_and_value_are_grouped():
    """A group's query heads, then its key head, then its value head; rows say which head they belong to."""
    model = shape(True, False, heads=4, groups=2, kv_channels=2)
    piece = next(piece for piece in pieces(model, VOCABULARY) if len(piece.names) == 3)
    heads = ["q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"]
    rows = torch.arange(8).repeat_interleave(2)[None, :, None].expand(1, 16, 64).float()
    found = {
        name.split(".")[-2][0]: [heads[int(row)] for row in value[::2, 0]]
        for name, value in to_hugging_face(piece, rows, model)
    }
    assert found == {"q": ["q0", "q1", "q2", "q3"], "k": ["k0", "k1"], "v": ["v0", "v1"]}


def test_gate_comes_before_up():
    model = MODELS["llama"]
    parts = [piece for piece in pieces(model, VOCABULARY) if piece.megatron.endswith("linear_fc1.weight")]
    assert parts[0].names[0].endswith("layers.0.mlp.gate_proj.weight") and parts[0].offset == (0, 0, 0)
    assert parts[1].names[0].endswith("layers.0.mlp.up_proj.weight") and parts[1].offset == (0, 112, 0)
    assert parts[2].offset[0] == 1


def test_shapes_are_checked_and_padding_is_allowed():
    wanted = expected_shapes(MODELS["llama"], VOCABULARY)
    for found in ((VOCABULARY, 64), (VOCABULARY + 24, 64)):
        check_shape(EMBEDDING, found, wanted[EMBEDDING], VOCABULARY, "x")
    for found in ((VOCABULARY - 1, 64), (VOCABULARY, 63), (64,), (VOCABULARY, 64, 1)):
        with pytest.raises(InputError, match=r"has shape .* \(40 or more, 64\)"):
            check_shape(OUTPUT, found, wanted[OUTPUT], VOCABULARY, "x")
