#!/usr/bin/env python
"""Writes sampling weights of real and synthetic datasets, exact to the sample, for Megatron's --data-args-path.

    python tools/make_blend.py --train-samples 23842 --sequence-length 4096 --repeated tokens/real \\
        --once tokens/synthetic --output blend.txt
    python -m megatron_sbp.training.pretrain ... or pretrain_gpt.py ... --data-args-path blend.txt

A weight is a number of samples: training sequences. Each --once dataset gives every sequence that it holds, or as many
as are given after a colon (tokens/synthetic:4000), once; the --repeated one fills the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from megatron_sbp.base import command_line, outputs
from megatron_sbp.tokenization.indexed import data_file, index_file
from megatron_sbp.training.data.megatron_blend_file import blend, parse_once, write_data_args


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--train-samples", type=int, required=True, help="total training sequences")
    parser.add_argument("--sequence-length", type=int, required=True, help="tokens of a training sequence")
    parser.add_argument("--repeated", type=Path, required=True, metavar="PREFIX", help="dataset that fills the rest")
    parser.add_argument(
        "--once", action="append", default=[], metavar="PREFIX[:SAMPLES]", help="dataset used once; may be repeated"
    )
    parser.add_argument("--output", type=Path, required=True, help="file for --data-args-path")
    options = parser.parse_args()
    with command_line.errors_reported(options):
        once = parse_once(options.once)
        read = [file(prefix) for prefix in (options.repeated, *once) for file in (data_file, index_file)]
        outputs.check_file(options.output, read)
        samples = blend(options.train_samples, options.repeated, once, options.sequence_length)
        write_data_args(options.output, samples)
    for prefix, count in samples.items():
        print(f"{count:>12,} samples  {count / options.train_samples:7.3%}  {prefix}")


if __name__ == "__main__":
    main()
