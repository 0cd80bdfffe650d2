"""Arms and synthesizers as a recipe writes them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections import CLASSIC_ARMS, Arm, Synthesizer


def test_the_papers_arms_differ_in_what_they_read():
    read = {name: (arm.synthetic, arm.documents) for name, arm in CLASSIC_ARMS.items()}
    assert read == {"baseline": (None, "train"), "sbp": (RELATED, "train"), "oracle": (None, "oracle")}
    assert all(arm.training == {} for arm in CLASSIC_ARMS.values())


def test_overrides_hold_values_or_one_section_of_them():
    override = {"vllm": {"eager": True}, "temperature": 0.7}
    assert Synthesizer(synthesis=override).synthesis == override
    with pytest.raises(ValidationError, match="must be a number, a string"):
        Arm(training={"megatron": {"a": {"b": 1}}})
    with pytest.raises(ValidationError, match="control character"):
        Arm(training={"a\x00": 1})
