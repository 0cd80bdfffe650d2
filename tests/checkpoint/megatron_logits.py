"""Real Megatron on one CPU rank: makes checkpoints with random weights, and writes down the logits that it gives.

    python megatron_logits.py JOBS.json

JOBS.json is a list of jobs: {"model": recipe.Model's fields, "vocabulary": padded size, "dtype": "float32" (default),
"tokens": [[ids]], "logits": file to write, and either "save": folder for a new checkpoint, "seed": of its weights, or
"load": a checkpoint to read}.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import warnings
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def build(model: dict, vocabulary: int, dtype):
    """Megatron's GPTModel as the training's flags describe it."""
    import torch
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig

    from megatron_sbp.training.attention import SdpaAttention

    config = TransformerConfig(
        num_layers=model["num_layers"],
        hidden_size=model["hidden_size"],
        ffn_hidden_size=model["ffn_hidden_size"],
        num_attention_heads=model["num_attention_heads"],
        num_query_groups=model["num_query_groups"],
        kv_channels=model["kv_channels"],
        qk_layernorm=model["qk_layernorm"],
        layernorm_epsilon=model["norm_epsilon"],
        normalization="RMSNorm",
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        bias_activation_fusion=False,
        add_bias_linear=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        use_cpu_initialization=True,
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=False,
        params_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        pipeline_dtype=dtype,
        persist_layer_norm=False,
    )
    spec = get_gpt_layer_local_spec(qk_layernorm=model["qk_layernorm"], normalization="RMSNorm")
    spec.submodules.self_attention.submodules.core_attention = SdpaAttention
    return GPTModel(
        config,
        spec,
        vocab_size=vocabulary,
        max_sequence_length=model["sequence_length"],
        share_embeddings_and_output_weights=model["tied_embeddings"],
        position_embedding_type="rope",
        rotary_base=int(model["rotary_base"]),
    ).eval()


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    from megatron_sbp.training import cpu

    cpu.install()
    import numpy as np
    import torch
    from megatron.core import dist_checkpointing, parallel_state, tensor_parallel

    cpu.fork_checkpoint_queue()
    torch.distributed.init_process_group("gloo")
    parallel_state.initialize_model_parallel()
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    for job in json.loads(Path(sys.argv[1]).read_text()):
        dtype = getattr(torch, job.get("dtype", "float32"))
        model = build(job["model"], job["vocabulary"], dtype).to(dtype)  # norms too, as in training
        if "save" in job:
            torch.manual_seed(job["seed"])
            with torch.no_grad():
                for parameter in model.parameters():  # norms too: all ones would hide a mix-up
                    parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2)
            folder = Path(job["save"])
            folder.mkdir(parents=True)
            dist_checkpointing.save(model.sharded_state_dict(), str(folder))
        else:
            state = dist_checkpointing.load(model.sharded_state_dict(), job["load"])
            names = {name for name, _ in model.named_parameters()}
            missing = model.load_state_dict({name: state[name] for name in names & state.keys()}, strict=False)
            assert not names & set(missing.missing_keys), missing
        tokens = torch.tensor(job["tokens"])
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        with torch.inference_mode():
            logits = model(tokens, positions, None)
        np.save(job["logits"], logits.float().numpy())
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
