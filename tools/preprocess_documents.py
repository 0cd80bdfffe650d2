#!/usr/bin/env python3
"""Tokenizes raw documents into a Megatron IndexedDataset.

    python tools/preprocess_documents.py --inputs 'corpus/*.jsonl.zst' --tokenizer RUN/tokenizer --output tokens/corpus

writes tokens/corpus.bin and tokens/corpus.idx (Megatron's --data-path is tokens/corpus) and prints the counts as JSON.
"""

from __future__ import annotations

import json

from megatron_sbp.base import command_line


def main() -> None:
    parser = command_line.parser(__doc__)
    command_line.add_inputs(parser)
    command_line.add_tokenizer(parser)
    command_line.add_dataset_output(parser)
    command_line.add_text_field(parser)
    command_line.add_end_of_document(parser)
    parser.add_argument("--no-end-of-document", action="store_true", help="write no end-of-document")
    command_line.add_bad_documents(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="maximum number of processes (default: one per core)")
    options = parser.parse_args()
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be at least 1")
    from megatron_sbp.tokenization.documents import preprocess_documents
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    with command_line.errors_reported(options):
        counts = preprocess_documents(
            options.inputs,
            options.output,
            open_tokenizer(options.tokenizer, options.end_of_document),
            text_field=options.text_field,
            bad_documents=options.bad_documents,
            end_of_document=not options.no_end_of_document,
            workers=options.workers,
        )
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
