#!/usr/bin/env python3
"""Documents (and their embeddings, if available) to pairs of related documents.

    python tools/mine_pairs.py --inputs 'corpus/*.jsonl.zst' --embeddings corpus.npy --tokenizer RUN/tokenizer \\
        --alpha 0.75 --output pairs.parquet

writes pairs.parquet (seed, target, seed_id, target_id, score) and pairs.audit.json (what each rule dropped, histogram,
examples). seed and target are rows of the documents; tools/preprocess_pairs.py --documents makes a dataset of them.
Without --embeddings the documents are embedded first, and the vectors written to pairs.embeddings.npy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_sbp.base import command_line
from megatron_sbp.recipe import Embedding, Neighbors, Pairs, Section, make_section
from megatron_sbp.recipe.sections import CONTROL_RELATIONS

NEIGHBORS, PAIRS = Neighbors(), Pairs()


def build_parser() -> argparse.ArgumentParser:
    parser = command_line.parser(__doc__)
    documents = parser.add_argument_group("documents")
    command_line.add_inputs(documents)
    command_line.add_text_field(documents)
    command_line.add_id_field(documents)
    command_line.add_tokenizer(documents)
    command_line.add_output(documents, "FILE.parquet")
    vectors = parser.add_argument_group("embeddings")
    vectors.add_argument(
        "--embeddings",
        nargs="+",
        type=Path,
        metavar="FILE.npy",
        help="of unit norm; their rows, one file after another, are the documents",
    )
    command_line.add_embedding(vectors, Embedding(), "without --embeddings")
    search = parser.add_argument_group("neighbors")
    search.add_argument(
        "--engine", choices=("scann", "exact"), default=NEIGHBORS.engine, help=f"(default: {NEIGHBORS.engine})"
    )
    search.add_argument("--k", type=int, default=NEIGHBORS.k, help=f"per document (default: {NEIGHBORS.k})")
    search.add_argument("--leaves", type=int, help="of ScaNN's tree (default: about the square root of the documents)")
    search.add_argument("--leaves-to-search", type=int, help="(default: as --recall-target says)")
    search.add_argument("--reorder", type=int, help="candidates that ScaNN rescores exactly (default: likewise)")
    search.add_argument(
        "--recall-target",
        type=float,
        default=NEIGHBORS.recall_target,
        help=f"share of the true neighbors that ScaNN must find on a sample (default: {NEIGHBORS.recall_target})",
    )
    search.add_argument(
        "--documents-per-index",
        type=int,
        default=NEIGHBORS.documents_per_index,
        help="of ScaNN: more are searched part by part, each of whole files of --embeddings, with one index in "
        f"memory at a time (default: {NEIGHBORS.documents_per_index:,})",
    )
    search.add_argument(
        "--recall-sample",
        type=int,
        default=NEIGHBORS.recall_sample,
        help=f"documents whose recall is measured (default: {NEIGHBORS.recall_sample})",
    )
    command_line.add_device(search)
    rules = parser.add_argument_group("rules")
    rules.add_argument("--alpha", type=float, default=PAIRS.alpha, help=f"least similarity (default: {PAIRS.alpha})")
    rules.add_argument("--max-similarity", type=float, help="pairs above this are copies (default: no limit)")
    rules.add_argument(
        "--shingle-tokens",
        type=int,
        default=PAIRS.shingle_tokens,
        help=f"tokens of a shingle (default: {PAIRS.shingle_tokens})",
    )
    rules.add_argument(
        "--max-shared-shingles",
        type=float,
        default=PAIRS.max_shared_shingles,
        help=f"pairs that share a larger part are near-duplicates (default: {PAIRS.max_shared_shingles})",
    )
    rules.add_argument("--max-targets-per-seed", type=int, help="best targets kept per seed document (default: all)")
    rules.add_argument("--max-seeds-per-target", type=int, help="best seed documents kept per target (default: all)")
    rules.add_argument(
        "--min-target-tokens",
        type=int,
        default=PAIRS.min_target_tokens,
        help=f"(default: {PAIRS.min_target_tokens})",
    )
    rules.add_argument("--max-target-tokens", type=int, help="(default: no limit)")
    rules.add_argument(
        "--same-fields",
        nargs="+",
        metavar="FIELD",
        default=[],
        help="fields that must be equal in both documents, such as the language",
    )
    rules.add_argument(
        "--different-fields",
        nargs="+",
        metavar="FIELD",
        default=[],
        help="fields that must differ, such as the web site",
    )
    rules.add_argument(
        "--collapse-above",
        type=float,
        help="neighbors that share a larger part of the shingles are copies: only the first has pairs (default: off)",
    )
    rules.add_argument(
        "--directions",
        choices=("mined", "mutual", "one"),
        default=PAIRS.directions,
        help="mined: as found; mutual: only pairs found in both directions; one: one direction of each pair "
        f"(default: {PAIRS.directions})",
    )
    rules.add_argument(
        "--relation",
        choices=("similar", *CONTROL_RELATIONS, "near_duplicates"),
        default=PAIRS.relation,
        help="random, shuffled: controls, in place of the similar pairs; near_duplicates: only pairs that "
        f"--max-shared-shingles drops otherwise (default: {PAIRS.relation})",
    )
    rules.add_argument("--seed", type=int, default=1, help="of random pairs, ScaNN's partitions, examples (default: 1)")
    return parser


def main() -> None:
    parser = build_parser()
    options = parser.parse_args()
    from megatron_sbp.pairing.standalone import Source, mine
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    kept = ("title", *options.same_fields, *options.different_fields)
    source = Source(options.inputs, options.text_field, options.id_field, optional_fields=kept)

    def section[S: Section](kind: type[S]) -> S:
        return make_section(kind, **{name: getattr(options, name) for name in kind.model_fields})

    with command_line.errors_reported(options, given="inputs"):
        neighbors, rules = section(Neighbors), section(Pairs)
        tokenizer = open_tokenizer(options.tokenizer)
        vectors = options.embeddings or make_section(Embedding, **command_line.embedding_values(options))
        audit = mine(source, vectors, options.output, tokenizer, neighbors, rules, options.seed, options.device)
    printed = ("documents", "candidates", "kept", "dropped", "recall_at_k", "recall_above_alpha")
    print(json.dumps({name: audit[name] for name in printed}))


if __name__ == "__main__":
    main()
