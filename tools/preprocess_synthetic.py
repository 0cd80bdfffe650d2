#!/usr/bin/env python3
"""Tokenizes synthetic documents into a Megatron IndexedDataset.

    python tools/preprocess_synthetic.py --inputs 'RUN/synthetic/*.jsonl.zst' --tokenizer RUN/tokenizer \\
        --output tokens/synthetic --need-tokens 75000000000

writes tokens/synthetic.bin and .idx, and tokens/synthetic.parents.parquet: row i of it says where document i comes from
(seed document, pairs, synthesizer, sampler). Documents keep the tokens that the synthesizer wrote where a row has them
(`token_ids`) and they are those of its text in this tokenizer; the others are tokenized. Prints, as JSON, the counts
(`written_ids`: documents that kept their tokens), how many seed documents the text comes from, and which synthesizers
wrote it.
"""

from __future__ import annotations

import json

from megatron_sbp.base import command_line


def main() -> None:
    parser = command_line.parser(__doc__)
    command_line.add_inputs(parser, "synthetic documents, files or quoted patterns (fields text, seed_id, synthesizer)")
    command_line.add_tokenizer(parser)
    command_line.add_dataset_output(parser)
    command_line.add_end_of_document(parser)
    parser.add_argument("--need-tokens", type=int, metavar="N", help="fewer tokens than this are an error")
    options = parser.parse_args()
    from megatron_sbp.tokenization.documents import preprocess_synthetic
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    with command_line.errors_reported(options):
        counts = preprocess_synthetic(
            options.inputs,
            options.output,
            open_tokenizer(options.tokenizer, options.end_of_document),
            options.need_tokens,
        )
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
