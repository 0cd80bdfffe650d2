"""Real Megatron on CPU ranks: makes checkpoints with random weights, and writes down the logits that it gives.

    python megatron_logits.py JOBS.json RANKS

Ranks are forks of a process that has imported torch and Megatron. JOBS.json is a list of jobs: {"model": recipe.Model's
fields, "vocabulary": padded size, "dtype": "float32" (default), "layout": [tensor, pipeline] parallel (default [1, 1]),
"seed" of random weights or "load": a checkpoint to read, optionally "save": folder for a new checkpoint, optionally
"logits": file to write, for "tokens": [[ids]]}.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path


def build(model: dict, vocabulary: int, dtype):
    """This rank's part of Megatron's GPTModel as the training's flags describe it."""
    import torch
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig

    from megatron_sbp.training.megatron.attention import SdpaAttention

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
        tensor_model_parallel_size=parallel_state.get_tensor_model_parallel_world_size(),
        pipeline_model_parallel_size=parallel_state.get_pipeline_model_parallel_world_size(),
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
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        parallel_output=False,
    ).eval()


def forward(model, tokens):
    """Logits [batch, sequence, vocabulary] on the last pipeline stage, None on others."""
    import torch
    from megatron.core import parallel_state

    first, last = parallel_state.is_pipeline_first_stage(), parallel_state.is_pipeline_last_stage()
    if not first:
        hidden = torch.empty(*reversed(tokens.shape), model.config.hidden_size, dtype=model.config.params_dtype)
        torch.distributed.recv(hidden, parallel_state.get_pipeline_model_parallel_prev_rank())
        model.set_input_tensor([hidden])
    with torch.inference_mode():
        output = model(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), None)
    if last:
        return output
    torch.distributed.send(output.contiguous(), parallel_state.get_pipeline_model_parallel_next_rank())
    return None


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    from megatron_sbp.training.megatron import cpu

    cpu.install(device="cpu")
    import torch.multiprocessing
    from megatron.core import dist_checkpointing  # noqa: F401  before the forks, not in each of them
    from megatron.core.models.gpt import gpt_model  # noqa: F401

    from megatron_sbp.base.processes import held_port

    jobs, ranks = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    with held_port() as port:
        torch.multiprocessing.start_processes(run_rank, (ranks, port, jobs), nprocs=ranks, start_method="fork")


def run_rank(rank: int, ranks: int, port: int, jobs: list[dict]) -> None:
    """Does the jobs as one of the ranks."""
    import torch
    from megatron.core import parallel_state, tensor_parallel

    from megatron_sbp.training.megatron import cpu

    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    cpu.fork_checkpoint_queue()
    torch.distributed.init_process_group("gloo")
    layout = None
    for job in jobs:
        if job.get("layout", [1, 1]) != layout:
            parallel_state.destroy_model_parallel()
            layout = job.get("layout", [1, 1])
            parallel_state.initialize_model_parallel(*layout)
            tensor_parallel.model_parallel_cuda_manual_seed(1, force_reset_rng=True)
        work(job)
    torch.distributed.destroy_process_group()


def work(job: dict) -> None:
    import numpy as np
    import torch
    from megatron.core import dist_checkpointing, parallel_state

    dtype = getattr(torch, job.get("dtype", "float32"))
    model = build(job["model"], job["vocabulary"], dtype).to(dtype)  # norms too, as in training
    if "load" in job:
        state = dist_checkpointing.load(model.sharded_state_dict(), job["load"])
        names = {name for name, _ in model.named_parameters()}
        missing = model.load_state_dict({name: state[name] for name in names & state.keys()}, strict=False)
        assert not names & set(missing.missing_keys), missing
    else:
        torch.manual_seed(job["seed"])
        with torch.no_grad():
            for parameter in model.parameters():  # norms too: all ones would hide a mix-up
                parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2)
    if "save" in job:
        Path(job["save"]).mkdir(parents=True, exist_ok=True)
        torch.distributed.barrier()
        dist_checkpointing.save(model.sharded_state_dict(), job["save"])
    if "logits" in job:
        logits = forward(model, torch.tensor(job["tokens"]))
        ranks = (parallel_state.get_tensor_model_parallel_rank(), parallel_state.get_data_parallel_rank())
        if logits is not None and ranks == (0, 0):
            np.save(job["logits"], logits.float().numpy())


if __name__ == "__main__":
    main()
