#!/usr/bin/env python3
"""Converts a Hugging Face checkpoint (Llama, Qwen3) to a Megatron one (torch_dist), without GPU or Megatron.

    python tools/import_hf.py --checkpoint Qwen3-0.6B --output models/start --recipe recipe.yaml

Megatron loads it under any parallel layout: --pretrained-checkpoint models/start, or --load models/start --finetune.
With a recipe the checkpoint must agree with its model section and with --tokenizer, and the padded vocabulary is the
recipe's; without one, --make-vocab-size-divisible-by and --tensor-model-parallel-size set it, as they do for Megatron.
Padding rows of the embedding are the mean of the others. Prints what was imported, and the model section of a recipe.
"""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base import command_line, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import cost
from megatron_sbp.recipe import load_recipe

LARGEST = 1 << 20
"""Of the numbers that set the padding: the embedding gets fewer rows of it than their product."""


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FOLDER", help="config.json, safetensors")
    command_line.add_output(parser, "FOLDER", "new, empty, or an earlier import, which is replaced")
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="default: the checkpoint's own")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of the weights (default: the checkpoint's)")
    parser.add_argument("--recipe", type=Path, help="recipe that the checkpoint must match; or:")
    parser.add_argument("--make-vocab-size-divisible-by", type=int, default=128, metavar="N", help="default: 128")
    parser.add_argument("--tensor-model-parallel-size", type=int, default=1, metavar="N", help="default: 1")
    options = parser.parse_args()
    for name in ("make_vocab_size_divisible_by", "tensor_model_parallel_size"):
        if not 1 <= getattr(options, name) <= LARGEST:
            parser.error(f"--{name.replace('_', '-')} must be between 1 and {LARGEST:,}, not {getattr(options, name)}")
    from megatron_sbp.checkpoint.hugging_face_config import read_config
    from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
    from megatron_sbp.checkpoint.initial_weights import check_tokenizer
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    with command_line.errors_reported(options):
        outputs.check_apart(options.output, filter(None, (options.checkpoint, options.tokenizer, options.recipe)))
        if not options.checkpoint.is_dir():
            raise InputError("no such folder", file=options.checkpoint)
        tokenizer = open_tokenizer(str(options.tokenizer or options.checkpoint))
        found, _ = read_config(options.checkpoint / "config.json")
        if options.recipe:
            recipe = load_recipe(options.recipe)
            model, parallel = recipe.model, recipe.launch.tensor_parallel
            if options.tokenizer:
                check_tokenizer(options.checkpoint, tokenizer)
        else:
            parallel = options.tensor_model_parallel_size
            # Megatron multiplies the two flags; padded_vocab_size divides, as our recipes do.
            model = found.model_copy(
                update={"make_vocab_size_divisible_by": options.make_vocab_size_divisible_by * parallel}
            )
        padded = cost.padded_vocab_size(model, tokenizer.vocab_size, parallel)
        written = import_checkpoint(
            options.checkpoint,
            model,
            vocabulary=tokenizer.vocab_size,
            padded=padded,
            target=options.output,
            precision=options.precision,
        )
    print(json.dumps({**written, "model": found.model_dump()}))


if __name__ == "__main__":
    main()
