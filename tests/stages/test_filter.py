"""The stage filter: its audit, and duplicates across shards."""

from __future__ import annotations

import pytest
from support.finished_stage import rewritten
from support.synthesis_run import execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.stages.tracing import trace_document
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.tokenization.written_ids import unpack_ids


def test_the_audit_adds_up(undisturbed):
    run = undisturbed
    audit = files.read_json(run.audit_synthetic)
    generations = [row for file in sorted(run.generations.glob("0*")) for row in files.read_jsonl_zst(file)]
    kept = [row for file in sorted(run.synthetic.glob("0*")) for row in files.read_jsonl_zst(file)]
    assert [file.name for file in sorted(run.generations.glob("0*"))] == [
        f.name for f in sorted(run.synthetic.glob("0*"))
    ]
    assert audit["generations"] == len(generations) == 120 and audit["kept"] == len(kept) >= 5
    assert sum(audit["dropped"].values()) == audit["generations"] - audit["kept"]
    assert audit["dropped"]["broken_text"] > 0 and audit["dropped"]["unfinished"] > 0
    tokenizer = load_tokenizer(run.tokenizer)
    ids = [unpack_ids(row["token_ids"]).tolist() for row in kept]
    assert [row["tokens"] for row in kept] == [len(each) + 1 for each in ids] and audit["tokens"] == sum(
        row["tokens"] for row in kept
    )
    again = tokenizer.encode_batch([row["text"] for row in kept])
    differing = sum(one != other for one, other in zip(again, ids, strict=True))
    assert audit["retokenized"]["documents"] == 120 and audit["retokenized"]["kept"] == len(kept)
    assert 0 < differing == audit["retokenized"]["kept_differing"] < audit["retokenized"]["differing"]
    assert audit["retokenized"]["share"] == audit["retokenized"]["differing"] / 120
    assert audit["tokens_per_generation"] == audit["tokens"] / 120
    assert audit["generated_tokens"] == sum(row["tokens"] for row in generations)
    assert audit["finished_share"] == sum(row["finished"] for row in generations) / 120
    by_id = {row["id"]: row for row in generations}
    assert all({**by_id[row["id"]], "tokens": row["tokens"]} == row for row in kept)
    assert [row["id"] for row in kept] == [row["id"] for row in generations if row["id"] in {row["id"] for row in kept}]
    assert all(len(audit["examples"][rule]) == min(10, count) for rule, count in audit["dropped"].items())
    assert not list(run.found("").parent.glob("*"))


def test_examples_of_what_was_dropped_can_be_traced_and_have_what_decided(undisturbed):
    run = undisturbed
    audit = files.read_json(run.audit_synthetic)
    dropped = [(rule, one) for rule, examples in audit["examples"].items() for one in examples[:2]]
    assert dropped
    for rule, example in dropped:
        traced = trace_document(run, example["id"])
        assert traced["filters"]["verdict"] == rule and traced["seed"]["id"] == example["seed_id"]
        assert traced["text"].startswith(example["text"]) and len(traced["text"]) == example["characters"]
        said = {one["rule"]: one for one in traced["filters"]["rules"]}
        for name, value in example["measured"].items():
            assert said[name]["value"] == pytest.approx(value, abs=1e-6)
        limit = said[rule]["limit"]
        assert example["limit"] == (None if isinstance(limit, str) else limit)


def test_duplicates_over_shards(undisturbed, make_run, texts):
    """The same text in two shards, one that is nearly the same, and one with other white space."""
    run = undisturbed
    long = next(text for text in texts if 60 < len(text.split()) < 120)
    words = long.split()
    nearly = " ".join([*words[:-1], "otherwise"])
    first, second = sorted(run.generations.glob("0*"))[:2]
    template = next(files.read_jsonl_zst(first))
    for file, wanted in ((first, [long]), (second, [" ".join(words), nearly, "Quite another text. " + texts[7]])):
        rows = [{**template, "id": f"{file.name}-{place}", "text": text, "finished": True, "tokens": 9}
                for place, text in enumerate(wanted)]  # fmt: skip
        files.write_jsonl_zst(file, rows)
    rewritten(run, "synthesize", first, second)
    kept = {}
    for rule in ("near", "exact", "keep"):
        other = make_run("undisturbed", f"filter.duplicates={rule}", "filter.max_repetition=1", "filter.max_copying=1")
        execute_synthesis(other, "judge", "deduplicate", "filter")
        names = [row["id"] for file in sorted(other.synthetic.glob("0*"))[:2] for row in files.read_jsonl_zst(file)]
        kept[rule] = [name.replace(".jsonl.zst", "") for name in names]
    assert kept["near"] == ["00000-0", "00001-2"]
    assert kept["exact"] == ["00000-0", "00001-1", "00001-2"]
    assert kept["keep"] == ["00000-0", "00001-0", "00001-1", "00001-2"]
