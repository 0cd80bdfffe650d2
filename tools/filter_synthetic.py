#!/usr/bin/env python3
"""Filters synthetic documents.

    python tools/filter_synthetic.py --inputs 'generations*.jsonl.zst' --seeds corpus.jsonl.zst \\
        --tokenizer RUN/tokenizer --output synthetic.jsonl.zst

reads what tools/synthesize.py wrote, or any texts (field `text`; `seed_id` names the seed document, `finished` says
whether the text has an end; `token_ids`, its tokens, pass through), and writes synthetic.jsonl.zst, for
tools/preprocess_synthetic.py, and synthetic.audit.json: what each filter dropped, with examples. docs/synthesis.md
describes the filters.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from megatron_sbp.base import command_line
from megatron_sbp.recipe import Filter, Pairs, make_section

RULES, PAIRS = Filter(), Pairs()


def main() -> None:
    parser = command_line.parser(__doc__)
    command_line.add_inputs(parser, f"synthetic documents, {command_line.FILES}")
    command_line.add_tokenizer(parser)
    command_line.add_end_of_document(parser)
    command_line.add_output(parser, "FILE", "of .jsonl.zst; the audit is written beside it")
    seeds = parser.add_argument_group("seed documents")
    seeds.add_argument(
        "--seeds", nargs="+", metavar="FILE", help="without them nothing is dropped as a copy of its seed document"
    )
    command_line.add_text_field(seeds)
    command_line.add_id_field(seeds)
    rules = parser.add_argument_group("filters")
    setting = partial(command_line.add_setting, rules)
    setting(
        "broken-text", RULES.broken_text, "texts with bytes that are not UTF-8, or control characters", ("keep", "drop")
    )
    setting("min-tokens", RULES.min_tokens, "of a text")
    setting("unfinished", RULES.unfinished, "texts without an end", ("keep", "drop"))
    setting("max-repetition", RULES.max_repetition, "share of the word 4-grams that repeats an earlier one")
    setting("max-copying", RULES.max_copying, "share of the shorter one's shingles that text and seed share")
    setting("shingle-tokens", PAIRS.shingle_tokens, "tokens of a shingle")
    rules.add_argument(
        "--corpus",
        type=Path,
        metavar="PREFIX",
        help="IndexedDataset of tools/preprocess_documents.py in which --max-corpus-copying looks for copies",
    )
    rules.add_argument(
        "--max-corpus-copying",
        type=float,
        help="share of the shingles that also occur in --corpus (default: not measured)",
    )
    setting("corpus-index-gb", RULES.corpus_index_gb, "disk for the index of --corpus")
    rules.add_argument("--predicate", metavar="FILE.py:FUNCTION", help="your own function (docs/synthesis.md)")
    setting("duplicates", RULES.duplicates, "near: also MinHash near-duplicates", ("keep", "exact", "near"))
    setting("duplicate-threshold", RULES.duplicate_threshold, "Jaccard similarity of near-duplicates")
    parser.add_argument(
        "--retokenize",
        action="store_true",
        help="leave out the ids that were written (token_ids), so that the text is tokenized again",
    )
    options = parser.parse_args()
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.synthesis.filter_files import filter_generations
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    given = {name: getattr(options, name) for name in Filter.model_fields if hasattr(options, name)}
    with command_line.errors_reported(options):
        shingles = make_section(Pairs, shingle_tokens=options.shingle_tokens)
        audit = filter_generations(
            options.inputs,
            options.output,
            open_tokenizer(options.tokenizer, options.end_of_document),
            seeds=Source(options.seeds, options.text_field, options.id_field) if options.seeds else None,
            corpus=options.corpus,
            rules=make_section(Filter, **given),
            shingle_tokens=shingles.shingle_tokens,
        )
    print(json.dumps({name: audit[name] for name in ("generations", "kept", "tokens", "dropped")}))


if __name__ == "__main__":
    main()
