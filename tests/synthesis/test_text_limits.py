"""Limits of lengths: those of a run, and what does not fit into a model's context."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.synthesis_run import ROLES

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.synthesis.text_limits import TextLimits
from megatron_sbp.tokenization.tokenizer import TextTokenizer

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def with_separator(tokenizer: TextTokenizer, text: str | None, bos: int = 0) -> TextTokenizer:
    """The tokenizer with a text between a seed document and the new one, and so many tokens before a text."""
    roles = {role: token for role, token in ROLES.items() if text is None or role != "separator"}
    return TextTokenizer(tokenizer.backend, roles, "here", separator_text=text, before_text=range(bos))


def test_those_of_a_run_fill_the_context_and_its_head_may_be_cut():
    recipe = load_recipe(RECIPE, ["tuning.max_seed_tokens=null", "tuning.seed_cut=head", "synthesis.max_new_tokens=9"])
    assert TextLimits.of_run(recipe) == TextLimits(recipe.model.sequence_length // 2, 9, "head")


@pytest.mark.parametrize(("separator", "bos"), [(None, 0), ("\n\nOn the same subject:\n\n", 0), (None, 1)])
def test_what_does_not_fit_into_the_context_is_refused(tmp_path, tokenizer, separator, bos):
    """A seed of 60 tokens and a text of 39, with what is before and between them."""
    limits, given = TextLimits(60, 39), with_separator(tokenizer, separator, bos)
    room = 60 + bos + len(given.between) + 39
    assert (room == 100) == (separator is None and not bos)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": room}))
    limits.check_context(tmp_path, given)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": room - 1}))
    with pytest.raises(InputError, match=rf"a seed of 60, .* not fit into the context of {room - 1} ") as caught:
        limits.check_context(tmp_path, given)
    assert caught.value.key == "max_new_tokens"


@pytest.mark.parametrize("config", [None, {}, {"max_position_embeddings": None}])
def test_a_model_that_names_no_context_takes_any(tmp_path, tokenizer, config):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    TextLimits(10**6, 10**6).check_context(tmp_path, tokenizer)
