"""What passed all filters, and the audit that adds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.judged_shard import FILTER, judged_shard, row

from megatron_sbp.base import files
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.judged import Judged
from megatron_sbp.synthesis.keeping import join_audits, write_kept
from megatron_sbp.synthesis.repeats import find_repeats, join_repeats, searches
from megatron_sbp.tokenization.written_ids import pack_ids


def kept(folder: Path, shards: list[Judged], rules: Filter = FILTER) -> tuple[list[list[dict]], dict]:
    """Rows of every shard, and the audit."""
    found = []
    for search in searches(FILTER):
        found.append(folder / f"{search}.npy")
        find_repeats(search, shards, found[-1], FILTER)
    repeats = [folder / f"repeats-{number}.npy" for number in range(len(shards))]
    join_repeats(found, shards, repeats)
    audits = []
    for number, shard in enumerate(shards):
        audits.append(folder / f"audit-{number}.json")
        generations, output = folder / f"0000{number}.jsonl.zst", folder / "kept" / f"0000{number}.jsonl.zst"
        write_kept(generations, shard, repeats=repeats[number], output=output, audit_file=audits[-1], rules=rules)
    join_audits(audits, folder / "audit.json", FILTER, folder / "index")
    return [list(files.read_jsonl_zst(file)) for file in sorted((folder / "kept").iterdir())], files.read_json(
        folder / "audit.json"
    )


def test_duplicates_are_found_over_shards_and_the_audit_adds_up(tmp_path, tokenizer, texts):
    parts = [[row(texts[7]), row("ab")], [row(f" {texts[7]} "), row(texts[8])], [row(texts[8])]]
    shards = [judged_shard(tmp_path, tokenizer, texts, rows, name=f"0000{n}") for n, rows in enumerate(parts)]
    rows, audit = kept(tmp_path, shards)
    assert [[each["text"] for each in some] for some in rows] == [[texts[7]], [texts[8]], []]
    assert (audit["generations"], audit["kept"], audit["dropped"]["duplicate"]) == (5, 2, 2)
    assert sum(audit["dropped"].values()) + audit["kept"] == 5
    [example] = audit["examples"]["too_short"]
    assert (example["id"], example["text"], example["limit"]) == ("ab", "ab", FILTER.min_tokens)
    assert example["measured"] == {"too_short": len(tokenizer.encode_batch(["ab"])[0])}
    assert audit["tokens"] == sum(each["tokens"] for some in rows for each in some)
    assert audit["generated_tokens"] == 100 and audit["finished_share"] == 1


def test_nothing_written_is_an_empty_audit(tmp_path, tokenizer, texts):
    rows, audit = kept(tmp_path, [judged_shard(tmp_path, tokenizer, texts, [])])
    assert rows == [[]]
    assert (audit["generations"], audit["kept"], audit["mean_tokens"], audit["finished_share"]) == (0, 0, 0.0, 0.0)


@pytest.mark.parametrize("retokenize", [False, True])
def test_ids_pass_that_are_those_of_the_text(tmp_path, tokenizer, texts, retokenize):
    [same] = tokenizer.encode_batch([texts[7]])
    different = np.concatenate(tokenizer.encode_batch(list(texts[8]))).astype(int)
    rows = [
        {**row(texts[7]), "token_ids": pack_ids(np.array(same))},
        {**row(texts[8]), "token_ids": pack_ids(different)},
        {**row(texts[9]), "token_ids": pack_ids(different)},  # of another text: it was edited
        {**row("ab"), "token_ids": pack_ids(np.array(tokenizer.encode_batch(["ab"])[0]))},
        row(texts[10]),
    ]
    rules = Filter(min_tokens=4, retokenize=retokenize)
    shards = [judged_shard(tmp_path, tokenizer, texts, rows, rules)]
    shards.append(judged_shard(tmp_path, tokenizer, texts, [row(texts[11])], rules, name="00001"))  # of another version
    found, audit = kept(tmp_path, shards, rules)
    assert [each["text"] for each in found[0]] == [*texts[7:11]] and [each["text"] for each in found[1]] == [texts[11]]
    expected = [pack_ids(np.array(same)), pack_ids(different), None, None]
    assert [each.get("token_ids") for each in found[0]] == ([None] * 4 if retokenize else expected)
    lengths = [len(ids) + 1 for ids in tokenizer.encode_batch(texts[7:11])]
    if not retokenize:
        lengths[1] = len(different) + 1
    assert [each["tokens"] for each in found[0]] == lengths
    assert audit["retokenized"] == {
        "documents": 3, "differing": 1, "kept": 2, "kept_differing": 1, "share": 1 / 3, "kept_share": 1 / 2,
    }  # fmt: skip


def test_without_ids_verdicts_and_audit_are_what_they_were(tmp_path, tokenizer, texts):
    shard = judged_shard(tmp_path, tokenizer, texts, [row(texts[7])])
    assert np.load(shard.verdicts).shape == (2, 1)
    _, audit = kept(tmp_path, [shard])
    assert "retokenized" not in audit and "retokenized" not in files.read_json(tmp_path / "audit-0.json")
