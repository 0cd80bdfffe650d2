#!/usr/bin/env python3
"""Embeds documents with any sentence-transformers model.

    python tools/embed_documents.py --inputs 'corpus/*.jsonl.zst' --model Qwen/Qwen3-Embedding-0.6B --output corpus.npy

writes float16 [documents, dimensions], unit norm, rows in the order of the files and of their rows; and
corpus.npy.json, the model and a digest of the documents, by which mine_pairs.py notices another order. A second call
after a kill embeds what is missing.
"""

from __future__ import annotations

import json

from megatron_sbp.base import command_line
from megatron_sbp.pairing.embedding_options import add_embedding, embedding_values
from megatron_sbp.recipe import Embedding, make_section


def main() -> None:
    parser = command_line.parser(__doc__)
    command_line.add_inputs(parser)
    command_line.add_output(parser, "FILE.npy")
    command_line.add_text_field(parser)
    parser.add_argument("--id-field", metavar="FIELD", help="field of an id (default: a digest of the text)")
    add_embedding(parser, "Hugging Face name, folder, or package:NAME for one in a package")
    command_line.add_device(parser)
    options = parser.parse_args()
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.pairing.standalone_mining import embed_documents

    with command_line.errors_reported(options):
        settings = make_section(Embedding, **embedding_values(options))
        source = Source(options.inputs, options.text_field, options.id_field)
        counts = embed_documents(source, options.output, settings, options.device)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
