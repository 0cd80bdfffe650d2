#!/usr/bin/env python3
"""Converts a Megatron checkpoint (torch_dist) of a Llama-style decoder to Hugging Face format, without GPU or Megatron.

    python tools/export_hf.py --checkpoint models/sbp/iter_0002000 --tokenizer RUN/tokenizer --output export/sbp \\
        --recipe recipe.yaml

Instead of a recipe, Megatron's own flags can give the shape of the model (--num-layers 26 --hidden-size 3072 ...).
With --qk-layernorm the export is Qwen3, without it Llama. Prints provenance.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_sbp.base import command_line, outputs
from megatron_sbp.recipe import Model, load_recipe, make_section

NEEDED = (
    "num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "max_position_embeddings"
)  # fmt: skip


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FOLDER", help="Megatron's iter_NNNNNNN")
    parser.add_argument("--tokenizer", required=True, type=Path, metavar="FOLDER", help="RUN/tokenizer, or any other")
    command_line.add_output(parser, "FOLDER", "new, empty, or an earlier export, which is replaced")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of the weights (default: the checkpoint's)")
    parser.add_argument("--recipe", type=Path, help="recipe whose model section describes the model; or:")
    shape = parser.add_argument_group("Megatron's flags")
    for name in (*NEEDED, "kv_channels"):
        shape.add_argument("--" + name.replace("_", "-"), type=int, metavar="N")
    shape.add_argument("--rotary-base", type=float, default=10_000, metavar="BASE", help="default: 10000")
    shape.add_argument("--norm-epsilon", type=float, default=1e-5, metavar="EPS", help="default: 1e-5")
    shape.add_argument("--qk-layernorm", action="store_true")
    shape.add_argument("--untie-embeddings-and-output-weights", action="store_true")
    options = parser.parse_args()
    missing = [name for name in NEEDED if getattr(options, name) is None]
    if options.recipe is None and missing:
        parser.error(f"give --recipe, or {', '.join('--' + name.replace('_', '-') for name in missing)}")
    from megatron_sbp.checkpoint.hugging_face import export

    with command_line.errors_reported(options, sequence_length="max_position_embeddings"):
        outputs.check_apart(options.output, filter(None, (options.checkpoint, options.tokenizer, options.recipe)))
        model = load_recipe(options.recipe).model if options.recipe else _model(options)
        provenance = export(options.checkpoint, model, options.tokenizer, options.output, options.precision)
    print(json.dumps(provenance))


def _model(options: argparse.Namespace) -> Model:
    return make_section(
        Model,
        num_layers=options.num_layers,
        hidden_size=options.hidden_size,
        ffn_hidden_size=options.ffn_hidden_size,
        num_attention_heads=options.num_attention_heads,
        num_query_groups=options.num_query_groups,
        sequence_length=options.max_position_embeddings,
        kv_channels=options.kv_channels,
        qk_layernorm=options.qk_layernorm,
        tied_embeddings=not options.untie_embeddings_and_output_weights,
        rotary_base=options.rotary_base,
        norm_epsilon=options.norm_epsilon,
    )


if __name__ == "__main__":
    main()
