"""Names that recipes, files, and code share."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.recipe import Documents, load_recipe
from megatron_sbp.recipe.names import MOST_SHARDS, RELATED, SPLITS

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def test_a_recipe_sizes_every_split():
    assert set(SPLITS) <= set(Documents.model_fields)


def test_the_papers_synthesizer_is_there_without_being_asked_for():
    assert load_recipe(PAPER).used_synthesizers == [RELATED]


def test_names_of_shards_sort_as_text_up_to_the_last():
    names = [f"{number:05d}" for number in (0, 9, 10, 99_998, MOST_SHARDS - 1)]
    assert names == sorted(names) and {len(name) for name in names} == {5} and len(f"{MOST_SHARDS:05d}") == 6
