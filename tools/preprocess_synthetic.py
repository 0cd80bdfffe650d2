#!/usr/bin/env python3
"""Synthetic documents and a tokenizer to a Megatron IndexedDataset.

    python tools/preprocess_synthetic.py --inputs 'RUN/synthetic/*.jsonl.zst' --tokenizer RUN/tokenizer \\
        --output tokens/synthetic --need-tokens 75000000000

Prints, as JSON, the counts, how many seed documents stand behind the text, and which synthesizers wrote it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_sbp.base.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files or quoted patterns of synthetic documents (fields text, seed_id, synthesizer)",
    )
    parser.add_argument("--tokenizer", required=True, help="RUN/tokenizer, or a Hugging Face folder or name")
    parser.add_argument("--output", required=True, type=Path, metavar="PREFIX", help="writes PREFIX.bin and PREFIX.idx")
    parser.add_argument(
        "--end-of-document", metavar="TOKEN", help="token that closes a document (default: the eos token)"
    )
    parser.add_argument("--need-tokens", type=int, metavar="N", help="fewer tokens than this are an error")
    options = parser.parse_args()
    from megatron_sbp.tokenization.hugging_face import open_tokenizer
    from megatron_sbp.tokenization.standalone import preprocess_synthetic

    try:
        counts = preprocess_synthetic(
            options.inputs,
            options.output,
            open_tokenizer(options.tokenizer, options.end_of_document),
            options.need_tokens,
        )
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
