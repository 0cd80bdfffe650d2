"""Ids in a row: what comes back, which of a model's tokens are text, and ids that are not those of the text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from megatron_sbp.tokenization.written_ids import ids_of_text, ids_with_text, pack_ids, unpack_ids


@pytest.mark.parametrize("ids", [[], [0], [1, 255, 256, 65_535, 65_536, (1 << 24) - 1], [*range(5000)]])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_ids_come_back(ids, dtype):
    ids = [number for number in ids if number <= np.iinfo(dtype).max]
    packed = pack_ids(np.array(ids, dtype))
    assert len(packed) == 4 * len(ids) and json.loads(json.dumps(packed)) == packed
    back = unpack_ids(packed)
    assert back.tolist() == ids and back.dtype == np.int64


@pytest.mark.parametrize("value", [None, 3, [1, 2], {"a": 1}, "AAA", "AA==", "ä" * 4, "AAA\n", "AA A"])
def test_other_values_are_no_ids(value):
    assert unpack_ids(value) is None


@pytest.mark.parametrize("ids", [[1 << 24], [-1]])
def test_ids_out_of_range_are_a_bug(ids):
    with pytest.raises(AssertionError):
        pack_ids(np.array(ids))


def test_tokens_that_are_not_text_are_left_out(tokenizer):
    ids = tokenizer.encode_batch(["one two"])[0]
    others = [tokenizer.padding, tokenizer.separator, tokenizer.end_of_document, tokenizer.vocab_size + 3]
    mixed = np.array([others[0], *ids, *others[1:]])
    assert ids_with_text(mixed, True, tokenizer).tolist() == ids
    assert tokenizer.decode(mixed) == tokenizer.decode(ids) == "one two"


def test_a_cut_character_is_left_out_of_unfinished_texts_only(tokenizer):
    whole = tokenizer.encode_batch(["café 日"])[0]
    ids = np.array(tokenizer.encode_batch(["café 日本"])[0])
    assert len(ids) - len(whole) >= 2, "else nothing can be cut"
    assert ids_with_text(ids[:-1], False, tokenizer).tolist() == whole
    assert ids_with_text(ids[:-1], True, tokenizer).tolist() == ids[:-1].tolist()
    assert ids_with_text(ids, False, tokenizer).tolist() == ids.tolist()
    assert ids_with_text(ids[len(whole) : -1], False, tokenizer).tolist() == []


def test_ids_of_another_text_or_tokenizer_are_refused(tokenizer):
    text = "one two"
    canonical = np.array(tokenizer.encode_batch([text])[0])
    spelled = np.array([number for character in text for number in tokenizer.encode_batch([character])[0]])
    assert len(spelled) > len(canonical)
    for ids in (canonical, spelled):
        assert ids_of_text(pack_ids(ids), text, tokenizer).tolist() == ids.tolist()
    assert ids_of_text(pack_ids(canonical), text + ".", tokenizer) is None
    assert ids_of_text(None, text, tokenizer) is None
    for more in (tokenizer.separator, tokenizer.vocab_size):  # decoded to nothing, and yet not the text's
        assert ids_of_text(pack_ids(np.append(canonical, more)), text, tokenizer) is None
