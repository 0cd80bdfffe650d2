#!/usr/bin/env python3
"""Makes a tokenizer for documents and pairs: adapts an existing one, or trains a byte-level BPE.

    python tools/make_tokenizer.py --source HuggingFaceTB/SmolLM2-135M --output tokenizer
    python tools/make_tokenizer.py --inputs 'corpus/*.jsonl.zst' --vocab-size 49152 --output tokenizer

Three tokens have a role: the one that ends a document, the one that pads a sequence, and the one between a seed
document and its target. One that the vocabulary lacks is added. Megatron reads the folder with
--tokenizer-type HuggingFaceTokenizer --tokenizer-model FOLDER.
"""

from __future__ import annotations

import json

from megatron_sbp.base import command_line, outputs
from megatron_sbp.recipe import Tokenizer, make_section

DEFAULTS = make_section(Tokenizer)


def main() -> None:
    parser = command_line.parser(__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--source", help="Hugging Face name or folder")
    kind.add_argument("--inputs", nargs="+", metavar="FILE", help=f"documents to train on, {command_line.FILES}")
    command_line.add_output(parser, "FOLDER", "new, empty, or an earlier tokenizer, which is replaced")
    command_line.add_text_field(parser)
    command_line.add_setting(parser, "vocab-size", DEFAULTS.vocab_size, "entries of a trained one")
    parser.add_argument("--train-characters", type=int, metavar="N", help="characters to read at most (default: all)")
    for role in ("end_of_document", "padding", "separator"):
        usual = getattr(DEFAULTS, role)
        parser.add_argument(f"--{role.replace('_', '-')}", default=usual, metavar="TOKEN", help=f"(default: {usual})")
    options = parser.parse_args()
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.tokenization.build import build_tokenizer
    from megatron_sbp.tokenization.tokenizer import FILES, ROLES_FILE, save_tokenizer

    keys = ("vocab_size", "train_characters", "end_of_document", "padding", "separator")
    with command_line.errors_reported(options, path="source"):
        settings = make_section(Tokenizer, path=options.source, **{key: getattr(options, key) for key in keys})
        source = Source(options.inputs or (), options.text_field, skip_empty=True)
        outputs.check_apart(options.output, source.files() if options.inputs else [options.source])
        outputs.check_folder(options.output, ROLES_FILE, FILES)
        texts = (document.text for document in source.documents())
        tokenizer = build_tokenizer(settings, texts)
        save_tokenizer(options.output, tokenizer)
    print(json.dumps({"entries": tokenizer.vocab_size, **tokenizer.roles}))


if __name__ == "__main__":
    main()
