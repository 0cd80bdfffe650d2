#!/usr/bin/env python3
"""Tokenizes pairs into a Megatron IndexedDataset with two sequences per document: seed, then target.

    python tools/preprocess_pairs.py --inputs pairs.parquet --documents 'corpus/*.jsonl.zst' \\
        --tokenizer RUN/tokenizer --output tokens/pairs --max-seed-tokens 2048 --max-target-tokens 2046

Pairs are what tools/mine_pairs.py writes (row numbers; --documents, --text-field and --id-field are then the --inputs
and fields that the pairs were mined from), or texts: --inputs pairs.jsonl --seed-field query --target-field answer.

A target that was cut has no end-of-document. The separator is not stored: the pair dataset puts it between the two.
Prints the counts as JSON.
"""

from __future__ import annotations

import json

from megatron_sbp.base import command_line


def main() -> None:
    parser = command_line.parser(__doc__)
    command_line.add_inputs(parser)
    command_line.add_tokenizer(parser)
    command_line.add_dataset_output(parser)
    parser.add_argument("--max-seed-tokens", required=True, type=int, metavar="N", help="longer seeds are cut")
    parser.add_argument(
        "--max-target-tokens", required=True, type=int, metavar="N", help="longer targets are cut at the end"
    )
    parser.add_argument(
        "--seed-cut",
        choices=("head", "tail"),
        default="tail",
        help="which end of a long seed is cut (default: tail)",
    )
    parser.add_argument("--documents", nargs="+", metavar="FILE", help=f"of pairs of row numbers: {command_line.FILES}")
    command_line.add_text_field(parser)
    command_line.add_id_field(parser)
    parser.add_argument("--seed-field", default="seed", metavar="FIELD", help="text conditioned on (default: seed)")
    parser.add_argument(
        "--target-field", default="target", metavar="FIELD", help="text to be written (default: target)"
    )
    command_line.add_end_of_document(parser, "target")
    command_line.add_bad_documents(parser)
    options = parser.parse_args()
    if options.max_seed_tokens < 1 or options.max_target_tokens < 1:
        parser.error("--max-seed-tokens and --max-target-tokens must be 1 or more")
    from megatron_sbp.base.errors import InputError
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.tokenization.hugging_face import open_tokenizer
    from megatron_sbp.tokenization.pair_files import holds_rows, preprocess_pairs, preprocess_row_pairs
    from megatron_sbp.tokenization.pairs import PairLimits

    fields = {"seed_field": options.seed_field, "target_field": options.target_field}
    limits = PairLimits(options.max_seed_tokens, options.max_target_tokens, options.seed_cut)
    with command_line.errors_reported(options):
        tokenizer = open_tokenizer(options.tokenizer, options.end_of_document)
        rows = holds_rows(options.inputs, **fields)
        if rows and not options.documents:
            raise InputError("the pairs are row numbers: name the documents they were mined from", key="--documents")
        if options.documents and not rows:
            raise InputError("the pairs are texts, which need no documents", key="--documents")
        if rows:
            source = Source(options.documents, options.text_field, options.id_field)
            counts = preprocess_row_pairs(options.inputs, source, options.output, tokenizer, limits=limits, **fields)
        else:
            counts = preprocess_pairs(
                options.inputs, options.output, tokenizer, limits=limits, **fields, bad_documents=options.bad_documents
            )
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
