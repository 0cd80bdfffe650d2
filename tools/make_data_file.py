#!/usr/bin/env python3
"""Writes the data file of a training run that you start yourself, exact to the sample.

    python tools/make_data_file.py --tokenizer tokenizer --sequence-length 4096 --repeated real --once synthetic \\
        --train-samples 23842 --valid valid --valid-samples 512 --output models/sbp/data.json
    python tools/make_data_file.py --tokenizer tokenizer --sequence-length 4096 --pairs pairs --epochs 2 \\
        --global-batch-size 128 --valid valid_pairs --valid-samples 512 --output models/synthesizer/data.json
    torchrun ... -m megatron_sbp.training.pretrain --sbp-data models/sbp/data.json --train-samples 23842 ...

The first is a model that reads documents: each --once dataset gives every sequence that it holds, or as many as are
given after a colon (synthetic:4000), once; the --repeated one fills the rest. The second is a synthesizer, which reads
packed pairs; the number of its samples is printed. docs/own_pipeline.md describes the whole procedure.
"""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base import command_line, outputs


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER", help="of tools/make_tokenizer.py")
    parser.add_argument("--sequence-length", type=int, required=True, metavar="N", help="tokens of a sequence")
    parser.add_argument("--valid", type=Path, required=True, metavar="PREFIX", help="held-out documents, or pairs")
    parser.add_argument(
        "--valid-samples",
        type=int,
        required=True,
        metavar="N",
        help="sequences of one evaluation: --eval-iters times the global batch size",
    )
    command_line.add_seed(parser, "of the order")
    command_line.add_output(parser, "FILE.json", "for --sbp-data")
    documents = parser.add_argument_group("documents")
    documents.add_argument("--train-samples", type=int, metavar="N", help="total training sequences")
    documents.add_argument("--repeated", type=Path, metavar="PREFIX", help="dataset that fills the rest")
    documents.add_argument(
        "--once", action="append", default=[], metavar="PREFIX[:SAMPLES]", help="dataset used once; may be repeated"
    )
    pairs = parser.add_argument_group("pairs")
    pairs.add_argument("--pairs", type=Path, metavar="PREFIX", help="dataset of tools/preprocess_pairs.py")
    pairs.add_argument("--epochs", type=float, metavar="N", help="passes over the pairs (default: 1)")
    pairs.add_argument("--global-batch-size", type=int, metavar="N", help="to which the passes are rounded up")
    options = parser.parse_args()
    if options.pairs:
        if options.repeated or options.once or options.train_samples:
            parser.error("--pairs goes with none of --repeated, --once, and --train-samples")
        if options.global_batch_size is None:
            parser.error("--pairs needs --global-batch-size")
    elif options.repeated is None or options.train_samples is None:
        parser.error("give --repeated and --train-samples, or --pairs and --global-batch-size")
    elif any(value is not None for value in (options.epochs, options.global_batch_size)):
        parser.error("--epochs and --global-batch-size go with --pairs; --train-samples says it for documents")
    from megatron_sbp.tokenization.indexed import data_file, index_file
    from megatron_sbp.tokenization.tokenizer import load_tokenizer
    from megatron_sbp.training.data.megatron_blend_file import parse_once
    from megatron_sbp.training.data.standalone_data_file import Common, write_documents, write_pairs

    with command_line.errors_reported(options):
        once = parse_once(options.once)
        given = filter(None, (options.repeated, options.pairs, options.valid, *once))
        outputs.check_file(options.output, [file(it) for it in given for file in (data_file, index_file)], ".json")
        common = Common(
            load_tokenizer(options.tokenizer),
            options.valid,
            options.valid_samples,
            options.sequence_length,
            options.seed,
        )
        if options.pairs:
            samples = write_pairs(
                options.output,
                common,
                pairs=options.pairs,
                epochs=1.0 if options.epochs is None else options.epochs,
                global_batch_size=options.global_batch_size,
            )
        else:
            samples = write_documents(
                options.output,
                common,
                train_samples=options.train_samples,
                repeated=options.repeated,
                once=once,
            )
    told = {str(prefix): count for prefix, count in samples.items()}
    print(json.dumps({"train_samples": sum(samples.values()), "samples": told}))


if __name__ == "__main__":
    main()
