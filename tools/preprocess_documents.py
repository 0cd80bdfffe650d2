#!/usr/bin/env python3
"""Raw documents and a tokenizer to a Megatron IndexedDataset.

    python tools/preprocess_documents.py --inputs 'corpus/*.jsonl.zst' --tokenizer RUN/tokenizer --output tokens/corpus

writes tokens/corpus.bin and tokens/corpus.idx (Megatron's --data-path is tokens/corpus) and prints the counts as JSON.
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
        help="files or quoted patterns: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; read sorted by path",
    )
    parser.add_argument("--tokenizer", required=True, help="RUN/tokenizer, or a Hugging Face folder or name")
    parser.add_argument("--output", required=True, type=Path, metavar="PREFIX", help="writes PREFIX.bin and PREFIX.idx")
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="field of the text (default: text)")
    parser.add_argument(
        "--end-of-document", metavar="TOKEN", help="token that closes a document (default: the eos token)"
    )
    parser.add_argument("--no-end-of-document", action="store_true", help="close documents with nothing")
    parser.add_argument(
        "--bad-documents",
        choices=("fatal", "skip"),
        default="fatal",
        help="malformed JSON, missing field, invalid UTF-8: stop, or count and go on (default: fatal)",
    )
    options = parser.parse_args()
    from megatron_sbp.tokenization.hugging_face import open_tokenizer
    from megatron_sbp.tokenization.standalone import preprocess_documents

    try:
        counts = preprocess_documents(
            options.inputs,
            options.output,
            open_tokenizer(options.tokenizer, options.end_of_document),
            options.text_field,
            options.bad_documents,
            not options.no_end_of_document,
        )
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
