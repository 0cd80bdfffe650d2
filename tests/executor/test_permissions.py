"""Which stages a permission is for, and how their commands are told."""

from __future__ import annotations

from megatron_sbp.executor.permissions import ALL, Permissions


def test_a_stage_is_named_or_all_are():
    allowed = Permissions(discard=["tune"], repair=["train-sbp", "tune"])
    assert allowed.discards("tune") and not allowed.discards("tune.2") and allowed.repairs("train-sbp")
    assert allowed.words("tune") == ["--discard", "tune", "--repair", "tune"]
    assert allowed.words("train-sbp") == ["--repair", "train-sbp"] and allowed.words("embed") == []
    assert Permissions(discard=[ALL]).words("embed") == ["--discard", "embed"]
    assert Permissions().words("embed") == []
