"""What a trace says in a terminal; tests/stages/test_tracing.py has traces of real runs."""

from __future__ import annotations

import pytest

from megatron_sbp.synthesis.trace_text import format_trace


def found(verdict: str = "kept", repeats: str | None = None, rules: list | None = None) -> dict:
    return {
        "id": "syn-1-0", "synthesizer": "related", "replicate": 1, "shard": "00000.jsonl.zst", "finished": True,
        "tokens": 1234, "sampling": {"temperature": 1.0, "top_p": None, "seed": 7}, "text": "One line.\nAnother.",
        "seed": None, "pairs": None,
        "filters": {"verdict": verdict, "repeats": repeats, "rules": rules or []},
    }  # fmt: skip


def test_a_document_without_a_seed():
    told = format_trace(found()).split("\n")
    assert told[:3] == [
        "syn-1-0: written by related, replicate 1, 00000.jsonl.zst", "  1,234 tokens, ended by itself",
        "  temperature 1.0, seed 7",
    ]  # fmt: skip
    assert told[4:6] == ["    One line.", "    Another."]
    assert "seed document: none, it was written without one" in told and told[-1] == "filters: kept"


def test_what_was_dropped_says_why():
    assert format_trace(found("too_short")).endswith("filters: dropped (too short)")
    assert format_trace(found("duplicate", "syn-0-0")).endswith("filters: dropped (duplicate of syn-0-0)")
    assert format_trace(found("not filtered yet")).endswith("filters: not filtered yet")


@pytest.mark.parametrize(
    "name, value, limit, drops, told",
    [
        ("broken_text", False, "drop", False, "broken text: no (rule: drop)"),
        ("broken_text", True, "drop", True, "broken text: yes (rule: drop), dropped"),
        ("too_short", 24, 16, False, "too short: 24 (limit: 16)"),
        ("unfinished", True, "drop", True, "unfinished: yes (rule: drop), dropped"),
        ("repetition", 0.25, 0.3, False, "repetition: 0.250 (limit: 0.3)"),
        ("duplicate", None, "exact", False, "duplicate: none found (rule: exact)"),
        ("duplicate", 1.0, "near", True, "duplicate: 1.000 (rule: near), dropped"),
        ("duplicate", None, "near", None, "duplicate: not judged (rule: near)"),
    ],
)
def test_what_a_filter_says(name, value, limit, drops, told):
    rules = [{"rule": name, "value": value, "limit": limit, "drops": drops}]
    assert format_trace(found(rules=rules)).endswith(f"\n  {told}")
