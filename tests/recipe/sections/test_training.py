"""Settings of models and training."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import Model, Training, Tuning

SHAPE = {"num_layers": 2, "hidden_size": 64, "ffn_hidden_size": 192, "num_attention_heads": 4, "num_query_groups": 2}
BUDGET = {"train_tokens": 1e5, "global_batch_size": 8, "micro_batch_size": 4}


def test_heads_share_the_hidden_size_unless_theirs_is_given():
    assert Model.model_validate({**SHAPE, "sequence_length": 128}).head_size == 16
    assert Model.model_validate({**SHAPE, "sequence_length": 128, "kv_channels": 32}).head_size == 32


def test_a_warm_up_that_megatron_would_refuse():
    assert Training.model_validate({**BUDGET, "warmup_fraction": 0.99}).warmup_fraction == 0.99
    for section, values in ((Training, BUDGET), (Tuning, {})):
        with pytest.raises(ValidationError, match="warmup_fraction"):
            section.model_validate({**values, "warmup_fraction": 1})


def test_flags_of_megatron_are_not_sections():
    flags = {"overlap-grad-reduce": True, "lr-decay-style": "WSD", "recompute-modules": ["mlp"], "loss-scale": None}
    assert Training.model_validate({**BUDGET, "megatron": flags}).megatron == flags
    with pytest.raises(ValidationError, match="a number, a string, true, false, null or a list"):
        Training.model_validate({**BUDGET, "megatron": {"optimizer": {"lr": 1}}})
