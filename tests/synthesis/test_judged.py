"""What others may read in the files of a judged shard."""

from __future__ import annotations

import numpy as np
from support.judged_shard import judged_shard, row
from support.small_recipe import small_recipe

from megatron_sbp.overlap.near_duplicates import BANDS
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.rule_names import RULES


def test_to_have_passed_is_no_rule():
    assert PASSED not in range(len(RULES))


def test_the_files_hold_what_the_attributes_say(tmp_path, tokenizer, texts):
    rows = [row(texts[7]), row("ab"), row(texts[8]), row(texts[9], finished=False)]
    shard = judged_shard(tmp_path, tokenizer, texts, rows)
    verdicts, digests, signatures, bands = (
        np.load(part) for part in (shard.verdicts, shard.digests, shard.signatures, shard.bands)
    )
    passed = verdicts[0] == PASSED
    assert verdicts.dtype == np.int32 and verdicts.shape == (2, 4) and passed.tolist() == [True, False, True, False]
    assert {RULES[verdict] for verdict in verdicts[0, ~passed]} == {"too_short", "unfinished"}
    assert digests.dtype == np.uint64 and digests.shape == (2,)
    assert signatures.dtype == np.uint32 and signatures.shape == (2, 128)
    assert bands.dtype == np.uint32 and bands.shape == (32, 2) and BANDS == 32


def test_each_has_a_folder_of_its_own_in_a_run(tmp_path):
    documents = Documents(inputs=["corpus.jsonl"], train=10, valid=2, test=2)
    shard = Run.of(small_recipe(tmp_path, documents)).judged("00003")
    for part in ("verdicts", "digests", "signatures", "bands"):
        assert getattr(shard, part) == tmp_path / "synthetic" / "judged" / part / "00003.npy"
