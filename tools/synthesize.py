#!/usr/bin/env python3
"""Generates related texts: a Hugging Face checkpoint and seed documents in, .jsonl.zst out.

    python tools/synthesize.py --checkpoint RUN/export/synthesizer --inputs seeds.jsonl --output synthetic.jsonl.zst \\
        --generations 3 --max-seed-tokens 2048 --max-new-tokens 2047

A row of the output: id, text, tokens, token_ids (docs/synthesis.md), ids_digest, finished, seed_id, seed_row,
generation, synthesizer (sha256 of its weights), temperature, top_p, max_new_tokens, engine, precision, run_seed, round
(1), pairs (null). Nothing is filtered.
The same inputs and options give the same bytes, and a second call after a kill writes what is missing. Prints the
counts as JSON.

A prompt is a seed document and a separator, after which the model writes. The folder of an exported checkpoint has the
tokenizer, and says in roles.json which tokens separate and end texts. Any other causal model needs --separator:

    python tools/synthesize.py --checkpoint Qwen3-1.7B-Base --separator $'\\n\\nOn the same subject:\\n\\n' \\
        --inputs seeds.jsonl --output synthetic.jsonl.zst --max-seed-tokens 2048 --max-new-tokens 2048

Its prompts begin as its tokenizer begins a text (with bos, if it has that).
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from megatron_sbp.base import command_line


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FOLDER", help="Hugging Face causal model")
    parser.add_argument(
        "--tokenizer", metavar="FOLDER|NAME", help="Hugging Face tokenizer (default: --checkpoint's own)"
    )
    parser.add_argument(
        "--separator",
        metavar="TOKEN|TEXT",
        help="between a seed document and a text: a special token of the tokenizer, or any text, which may be several "
        "tokens (default: the token that roles.json beside the tokenizer names)",
    )
    parser.add_argument(
        "--end-of-document",
        metavar="TOKEN",
        help="token that ends a text (default: that of roles.json, or the eos token)",
    )
    command_line.add_inputs(parser, f"seed documents, {command_line.FILES}")
    command_line.add_output(parser, "FILE", ".jsonl.zst")
    command_line.add_text_field(parser)
    command_line.add_id_field(parser)
    parser.add_argument("--generations", type=int, default=1, metavar="N", help="texts per seed document (default: 1)")
    parser.add_argument("--max-seed-tokens", type=int, required=True, metavar="N", help="as in tuning")
    parser.add_argument("--max-new-tokens", type=int, required=True, metavar="N", help="end-of-document included")
    setting = partial(command_line.add_setting, parser)
    setting("seed-cut", "tail", "end that is cut", ("head", "tail"))
    setting("temperature", 1.0, "")
    setting("top-p", 0.9, "")
    command_line.add_seed(parser, "of the random streams")
    setting("engine", "transformers", "", ("transformers", "vllm"))
    setting("batch-size", 64, "texts written together")
    setting("precision", "fp32", "", ("fp32", "bf16"))
    command_line.add_device(parser)
    options = parser.parse_args()
    for name in ("generations", "max_seed_tokens", "max_new_tokens", "batch_size", "temperature", "top_p"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0")
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.recipe import Synthesis, make_section
    from megatron_sbp.synthesis.synthesize_files import synthesize
    from megatron_sbp.synthesis.text_limits import TextLimits
    from megatron_sbp.tokenization.hugging_face import open_synthesizer_tokenizer

    sampling = ("engine", "temperature", "top_p", "batch_size", "precision")
    with command_line.errors_reported(options, generations_per_document="generations"):
        tokenizer = open_synthesizer_tokenizer(
            options.checkpoint, options.tokenizer, options.separator, options.end_of_document
        )
        counts = synthesize(
            options.checkpoint,
            Source(options.inputs, options.text_field, options.id_field),
            options.output,
            tokenizer=tokenizer,
            settings=make_section(Synthesis, tokens=1, **{name: getattr(options, name) for name in sampling}),
            limits=TextLimits(options.max_seed_tokens, options.max_new_tokens, options.seed_cut),
            generations_per_document=options.generations,
            seed=options.seed,
            device=options.device,
        )
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
