"""SdpaAttention against Megatron's own DotProductAttention."""

from __future__ import annotations

import textwrap


def test_agrees_with_megatrons_attention_forward_and_backward(run_beside_megatron):
    """Causal, and with a block-diagonal mask; grouped queries; fp32. Runs in a process of its own: the CPU backend
    replaces names of torch for good."""
    script = textwrap.dedent(
        """
        from megatron_sbp.training.megatron import cpu
        assert cpu.install(device="cpu")
        import os, torch
        from megatron.core import parallel_state
        from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
        from megatron.core.transformer.dot_product_attention import DotProductAttention
        from megatron.core.transformer.enums import AttnMaskType
        from megatron.core.transformer.transformer_config import TransformerConfig
        from megatron_sbp.training.megatron.attention import SdpaAttention, cumulative_lengths
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        parallel_state.initialize_model_parallel()
        model_parallel_cuda_manual_seed(1)
        config = TransformerConfig(num_layers=1, hidden_size=64, num_attention_heads=8, num_query_groups=2,
                                   attention_dropout=0.0, masked_softmax_fusion=False)
        ours = SdpaAttention(config, 1, AttnMaskType.causal, "self")
        theirs = DotProductAttention(config, 1, AttnMaskType.causal, "self")
        torch.manual_seed(0)
        S, B = 33, 3
        segments = torch.sort(torch.randint(0, 4, (B, S)), dim=1).values
        same = (segments[:, :, None] == segments[:, None, :])[:, None]
        for mask in (None, cumulative_lengths(segments)):
            inputs = [torch.randn(S, B, heads, 8, requires_grad=True) for heads in (8, 2, 2)]
            causal = torch.ones(S, S, dtype=torch.bool).triu(1)[None, None].expand(B, 1, S, S)
            bool_mask = causal if mask is None else causal | ~same
            one = ours(*inputs, mask)
            two = theirs(*inputs, bool_mask)
            three = ours(*inputs, bool_mask)
            assert one.shape == two.shape == (S, B, 64)
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(three, two, atol=1e-5, rtol=1e-5)
            weight = torch.randn_like(one)
            gradients = [torch.autograd.grad((out * weight).sum(), inputs, retain_graph=True) for out in (one, two)]
            for a, b in zip(*gradients):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        print("agrees")
        """
    )
    assert "agrees" in run_beside_megatron(script)
