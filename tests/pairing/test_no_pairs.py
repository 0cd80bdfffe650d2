"""When no pair is left, a value is named that leaves some."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.mined_table import mined_table, spans

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.pair_writing import mine_pairs
from megatron_sbp.recipe import Pairs


def test_no_pairs_names_an_alpha_that_gives_some(tmp_path):
    with pytest.raises(InputError) as caught:
        mined_table(tmp_path, Pairs(alpha=0.95))
    message = str(caught.value)
    assert message.startswith(
        "'pairs.alpha': no pairs among 4 train documents: alpha is 0.95, the largest score found is"
    )
    assert "0.9000 (below_alpha 12); alpha 0.49 would leave about 10" in message
    assert not (tmp_path / "pairs.parquet").exists()
    table, _ = mined_table(tmp_path, Pairs(alpha=0.49))
    assert table.num_rows == 10


def test_the_named_alpha_regards_the_other_rules(tmp_path):
    documents = spans()
    documents.tokens[30:60] = documents.tokens[:30]  # b is a copy of a
    with pytest.raises(InputError, match=r"the largest score found is 0\.9000") as caught:
        mined_table(tmp_path, Pairs(alpha=0.95, max_similarity=0.75), documents)
    assert "alpha 0.29 would leave about 8" in str(caught.value)
    table, _ = mined_table(tmp_path, Pairs(alpha=0.29, max_similarity=0.75), documents)
    assert table.num_rows == 8


def test_when_no_alpha_helps(tmp_path):
    with pytest.raises(InputError, match=r"\(below_alpha \d+, short_target \d+\); the other rules .* drop all of them"):
        mined_table(tmp_path, Pairs(alpha=0.55, min_target_tokens=31))


def test_a_single_document(tmp_path):
    names = pa.chunked_array([pa.array(["a"], pa.large_string())])
    shard = (np.full((1, 3), -1), np.full((1, 3), -2, np.float32))
    with pytest.raises(InputError, match=r"'documents.valid': no pairs: the valid split has 1 documents"):
        output = tmp_path / "x.parquet"
        mine_pairs([shard], spans(1), no_field_rules(1), names, Pairs(), run_seed=1, output=output, split="valid")
