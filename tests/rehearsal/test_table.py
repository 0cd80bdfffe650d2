"""The table of what differs, as a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.rehearsal.changes import Change
from megatron_sbp.rehearsal.derive import Rehearsal
from megatron_sbp.rehearsal.table import format_changes

NAME = Change("name", "big", "big-rehearsal", "own", "tells its jobs from the real ones")


def table(*changes: Change) -> list[str]:
    real = small_recipe(Path("/run"), Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30))
    real.source = Path("recipe.yaml")
    return format_changes(Rehearsal(real, real, Path("/x"), list(changes), None), 20).splitlines()


def test_changes_stand_below_their_kind_in_this_order():
    size = Change("documents.train", 12_077_000, 64, "size", "")
    replaced = Change("synthesis.engine", "vllm", "transformers", "replaced", "vLLM needs a GPU, and none is here")
    assert table(NAME, size, replaced) == [
        "Rehearsal of test (recipe.yaml): its 20 stages; only this differs.",
        "",
        "Replaced: none of this was rehearsed",
        "  synthesis.engine        vllm  ->  transformers   vLLM needs a GPU, and none is here",
        "",
        "Sizes cut: the same, smaller",
        "  documents.train   12,077,000  ->  64",
        "",
        "Its own",
        "  name                     big  ->  big-rehearsal  tells its jobs from the real ones",
    ]


def test_a_kind_without_changes_is_not_named():
    assert [line for line in table(NAME) if line and not line.startswith(" ")][1:] == ["Its own"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1_000_000, "1,000,000"),
        (0.00001, "1e-05"),
        (2.0, "2"),
        ("text", "text"),
        (["a", "b"], "a, b"),
        ([], "[]"),
        ({}, "none"),
        ({"a": 1, "b": 2}, "2 keys"),
        ("A rehearsal of something with a name that is long", "A rehearsal of something with a..."),
    ],
)
def test_values(value, shown):
    line = table(Change("key", value, 7, "own", "why"))[-1]
    before, _, after = line.partition("  ->  ")
    assert before.removeprefix("  key").strip() == shown or (before.endswith(shown) and len(shown) == 36)
    assert after == "7  why" and len(before) <= len("  key  ") + 36


def test_a_long_path_keeps_its_end():
    path = "/a" * 30 + "/tokenizer"
    before = table(Change("key", path, 7, "own", "why"))[-1].partition("  ->  ")[0].split()[-1]
    assert len(before) == 36 and before.startswith("...") and path.endswith(before[3:])


def test_nothing_in_a_value_moves_the_cursor():
    text = "\n".join(table(Change("key", "a\x1b[31mb", "c\rd", "own", "why")))
    assert "\x1b" not in text and "\r" not in text
