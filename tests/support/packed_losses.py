"""Losses of every target token, by the trainer's own forward step: packed together, alone, and beside changed pairs.

    python packed_losses.py CORPUS OUT.npz        # the corpus fixture of conftest.py

OUT holds float32 arrays: "packed" and "alone" (the same pairs in sequences of their own), "changed" (one pair with
other tokens), and bool "of_changed" (which of the tokens belong to that pair).
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    from megatron_sbp.training.megatron import cpu

    assert cpu.install(device="cpu")
    import numpy as np
    import torch
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig

    from megatron_sbp.training.data.pair_dataset import PairDataset
    from megatron_sbp.training.megatron.forward import PretrainCallbacks
    from megatron_sbp.training.megatron.layer_spec import layer_spec

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    config = TransformerConfig(
        num_layers=3, hidden_size=64, ffn_hidden_size=128, num_attention_heads=4, num_query_groups=2, kv_channels=16,
        qk_layernorm=True, normalization="RMSNorm", gated_linear_unit=True, activation_func=torch.nn.functional.silu,
        add_bias_linear=False, bias_activation_fusion=False, attention_dropout=0.0, hidden_dropout=0.0,
        use_cpu_initialization=True, masked_softmax_fusion=False, persist_layer_norm=False, transformer_impl="local",
        init_method_std=0.1,
    )  # fmt: skip
    model = GPTModel(
        config, layer_spec(SimpleNamespace(transformer=config)), vocab_size=384, max_sequence_length=192,
        share_embeddings_and_output_weights=False, position_embedding_type="rope", rotary_base=500_000,
    ).eval()  # fmt: skip
    corpus = Path(sys.argv[1])
    settings = GPTDatasetConfig(
        random_seed=1, sequence_length=192, blend_per_split=[None, None, None], reset_position_ids=False,
        tokenizer=SimpleNamespace(vocab_size=300, eod=0, pad=1, unique_identifiers={}), eod_mask_loss=False,
        reset_attention_mask=False, create_attention_mask=False,
    )  # fmt: skip
    prefix = str(corpus / "pairs")
    pairs = PairDataset(IndexedDataset(prefix), prefix, 500, Split.train, settings, separator=2, padding=1)
    arguments = SimpleNamespace(sbp_data=corpus / "x" / "data.json", context_parallel_size=1, curr_iteration=0)
    trainer = PretrainCallbacks(arguments, SimpleNamespace(kind="pairs", train=[SimpleNamespace(name="pairs")]))  # type: ignore[arg-type]

    def losses(*sequences: dict) -> list:
        """Losses [S] of every sequence of one micro-batch."""
        batch = torch.utils.data.default_collate([{**one, "dataset_id": 0, "sample": 0} for one in sequences])
        with torch.no_grad():
            found, _ = trainer.forward_step(iter([batch]), model)
        return list(found.float().numpy())

    groups = [
        list(pairs.packing.order[a:b]) for a, b in zip(pairs.packing.starts, pairs.packing.starts[1:], strict=False)
    ]
    groups = [[int(pair) for pair in group] for group in groups if len(group) >= 3][:6]
    results: dict[str, list] = {"packed": [], "alone": [], "changed": [], "of_changed": []}
    for one, other in zip(groups[::2], groups[1::2], strict=True):  # micro-batches of two sequences
        together = [pairs.assemble(one), pairs.assemble(other)]
        changed = {name: value.clone() for name, value in together[0].items()}
        of_changed = changed["segments"] == 1
        changed["tokens"][of_changed] = (changed["tokens"][of_changed] + 7) % 300
        for name, sequences in (("packed", together), ("changed", [changed, together[1]])):
            for sequence, found in zip(sequences, losses(*sequences), strict=True):
                results[name].append(found[sequence["loss_mask"].numpy() > 0])
        for place, group in enumerate((one, other)):
            for segment, pair in enumerate(group):
                alone = pairs.assemble([pair])
                count = int(alone["loss_mask"].sum())
                results["alone"].append(losses(alone)[0][alone["loss_mask"].numpy() > 0])
                results["of_changed"].append(np.full(count, place == 0 and segment == 1))
    np.savez(sys.argv[2], **{name: np.concatenate(parts) for name, parts in results.items()})


if __name__ == "__main__":
    main()
