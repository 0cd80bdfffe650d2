"""Parts of the decoder layer that Megatron builds on this machine; what they compute is in test_packed_losses.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.megatron_ranks import environment

PROGRAM = """
import json
from types import SimpleNamespace
from megatron_sbp.training.megatron import cpu
cpu.install(device="cpu")
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer import transformer_block
from megatron_sbp.training.megatron.attention import SdpaAttention
from megatron_sbp.training.megatron.layer_spec import layer_spec

found = {"before": transformer_block.LayerNormImpl.__name__}
for norm in (True, False):
    transformer = SimpleNamespace(transformer_impl="local", qk_layernorm=norm, normalization="RMSNorm")
    spec = layer_spec(SimpleNamespace(transformer=transformer))
    usual = get_gpt_layer_local_spec(qk_layernorm=norm, normalization="RMSNorm")
    own, theirs = (vars(each.submodules.self_attention.submodules) for each in (spec, usual))
    found[str(norm)] = {
        "changed": [name for name in own if own[name] is not theirs[name]],
        "sdpa": spec.submodules.self_attention.submodules.core_attention is SdpaAttention,
        "norm": spec.submodules.self_attention.submodules.q_layernorm.__name__,
        "last": transformer_block.LayerNormImpl.__name__,
        "input": spec.submodules.input_layernorm is usual.submodules.input_layernorm,
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What the program prints where Apex is found, and Transformer Engine is not."""
    apex = tmp_path_factory.mktemp("packages") / "apex"
    apex.mkdir()
    (apex / "__init__.py").touch()
    variables = environment()
    variables["PYTHONPATH"] += f"{os.pathsep}{apex.parent}"
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("norm", ["True", "False"])
def test_without_transformer_engine_only_the_core_attention_is_ours(found, norm):
    assert found[norm]["sdpa"] and found[norm]["changed"] == ["core_attention"] and found[norm]["input"]


def test_queries_are_normalized_where_the_model_says_so(found):
    assert found["False"]["norm"] == "IdentityOp" != found["True"]["norm"]


@pytest.mark.parametrize("norm", ["True", "False"])
def test_with_apex_alone_the_last_norm_is_one_that_knows_rmsnorm(found, norm):
    assert found["before"] == "FusedLayerNorm" and found[norm]["last"] == "WrappedTorchNorm"
