"""What passed all filters, and the audit that adds up."""

from __future__ import annotations

from pathlib import Path

from support.judged_shard import FILTER, judged_shard, row

from megatron_sbp.base import files
from megatron_sbp.synthesis.judged import Judged
from megatron_sbp.synthesis.keeping import join_audits, write_kept
from megatron_sbp.synthesis.repeats import find_repeats, join_repeats, searches


def kept(folder: Path, shards: list[Judged]) -> tuple[list[list[dict]], dict]:
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
        write_kept(generations, shard, repeats[number], output, audits[-1], FILTER)
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
