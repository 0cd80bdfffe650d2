#!/usr/bin/env python3
"""Documents to embeddings, by any sentence-transformers model.

    python tools/embed_documents.py --inputs 'corpus/*.jsonl.zst' --model Qwen/Qwen3-Embedding-0.6B --output corpus.npy

writes float16 [documents, dimensions], unit norm, rows in the order of the files and of their rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Embedding

DEFAULTS = Embedding()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files or quoted patterns: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; read sorted by path",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.npy")
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="field of the text (default: text)")
    parser.add_argument(
        "--model",
        default=DEFAULTS.model,
        help=f"Hugging Face name, folder, or package:NAME for a model in a Python package (default: {DEFAULTS.model})",
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=DEFAULTS.max_tokens,
        help=f"tokens read of a document (default: {DEFAULTS.max_tokens})",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=DEFAULTS.batch_size,
        help=f"documents in one forward pass (default: {DEFAULTS.batch_size})",
    )
    parser.add_argument("--prompt", default="", help="text in front of every document")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default=DEFAULTS.precision)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    from megatron_sbp.pairing.standalone import Source, embed_documents

    settings = Embedding(options.model, options.max_tokens, options.batch_size, options.prompt, options.precision)
    try:
        counts = embed_documents(Source(options.inputs, options.text_field), options.output, settings, options.device)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
