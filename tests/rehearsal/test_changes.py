"""A draft of a recipe, and the list of what was changed in it."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.rehearsal.changes import REMOVED, Change, Draft, flat


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    made = small_recipe(tmp_path, Documents(inputs=["a.jsonl", "b.jsonl"], train=200, valid=40, test=30))
    made.training.megatron = {"fp8": "e4m3", "num-workers": 2}
    return made


def test_a_change_has_both_values_and_its_reason(recipe):
    draft = Draft(recipe)
    draft.set(("documents", "train"), 64, "size")
    draft.set(("synthesis", "engine"), "vllm", "replaced", "for the test")
    assert draft.changes == [
        Change("documents.train", 200, 64, "size", ""),
        Change("synthesis.engine", "transformers", "vllm", "replaced", "for the test"),
    ]
    assert draft.get("documents", "train") == draft.values["documents"]["train"] == 64
    assert recipe.documents.train == 200, "the real recipe stays as it is"


def test_the_real_recipe_shares_nothing_with_its_draft(recipe):
    draft = Draft(recipe)
    draft.get("training", "megatron")["fp8"] = None
    draft.get("documents", "inputs").append("c.jsonl")
    assert recipe.training.megatron["fp8"] == "e4m3" and recipe.documents.inputs == ["a.jsonl", "b.jsonl"]


def test_a_value_that_stays_is_no_change(recipe):
    draft = Draft(recipe)
    draft.set(("documents", "train"), 200, "size")
    draft.set(("documents", "inputs"), ["a.jsonl", "b.jsonl"], "own", "the same")
    draft.set(("tokenizer", "path"), None, "own", "the same")
    assert draft.changes == []
    draft.set(("model", "tied_embeddings"), 1, "own", "equal, but not the same kind of value")
    assert [change.key for change in draft.changes] == ["model.tied_embeddings"]


def test_a_second_change_keeps_the_real_value_and_takes_the_last_reason(recipe):
    draft = Draft(recipe)
    draft.set(("synthesis", "margin"), 2.0, "size")
    draft.set(("synthesis", "margin"), 3.0, "replaced", "again")
    assert draft.changes == [Change("synthesis.margin", recipe.synthesis.margin, 3.0, "replaced", "again")]


def test_changes_come_in_the_order_of_the_recipe_and_removed_keys_at_the_end(recipe):
    draft = Draft(recipe)
    draft.set(("training", "megatron", "fp8"), REMOVED, "replaced", "no GPU")
    for path in (("synthesis", "tokens"), ("training", "train_tokens"), ("name",), ("documents", "train")):
        draft.set(path, "x" if path == ("name",) else 1, "size")
    order = [change.key for change in draft.changes]
    by_recipe = [".".join(path) for path in flat(recipe.to_dict())]
    assert order[-1] == "training.megatron.fp8"
    assert order[:-1] == sorted(order[:-1], key=by_recipe.index) and len(order) == 5


def test_an_entry_that_is_taken_out(recipe):
    draft = Draft(recipe)
    draft.set(("training", "megatron", "fp8"), REMOVED, "replaced", "no GPU")
    assert draft.get("training", "megatron") == {"num-workers": 2}
    assert draft.changes == [Change("training.megatron.fp8", "e4m3", None, "replaced", "no GPU")]


def test_a_key_that_is_not_there_is_an_error(recipe):
    with pytest.raises(KeyError):
        Draft(recipe).set(("documents", "trian"), 1, "size")


def test_the_beginning_of_changed_texts_is_replaced_and_of_no_others(recipe):
    recipe.note = "FOLDER stays"
    draft = Draft(recipe)
    draft.set(("documents", "inputs"), ["FOLDER/a.jsonl", "other/FOLDER/b.jsonl"], "own", "inputs")
    draft.set(("tokenizer", "path"), "FOLDER/start", "own", "a folder")
    draft.set(("documents", "train"), 7, "size")
    draft.replace_text("FOLDER", "inputs-123")
    assert draft.get("documents", "inputs") == ["inputs-123/a.jsonl", "other/FOLDER/b.jsonl"]
    here = {change.key: change.here for change in draft.changes}
    assert here == {
        "documents.inputs": ["inputs-123/a.jsonl", "other/FOLDER/b.jsonl"],
        "documents.train": 7,
        "tokenizer.path": "inputs-123/start",
    }
    assert draft.get("note") == "FOLDER stays"


def test_nested_mappings_by_path():
    assert flat({"a": 1, "b": {"c.d": {"e": [2]}, "f": {}}}) == {("a",): 1, ("b", "c.d", "e"): [2], ("b", "f"): {}}
