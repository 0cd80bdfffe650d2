#!/usr/bin/env python3
"""Finds pairs of related documents, with your embeddings or its own.

    python tools/mine_pairs.py --inputs 'corpus/*.jsonl.zst' --embeddings corpus.npy --tokenizer RUN/tokenizer \\
        --alpha 0.75 --output pairs.parquet

writes pairs.parquet (seed, target, seed_id, target_id, score) and pairs.audit.json (what each rule dropped, histogram,
pairs to read from every band of similarity). seed and target are rows of the documents; tools/preprocess_pairs.py
--documents makes a dataset of them. Without --embeddings the documents are embedded first, and the vectors written to
pairs.embeddings.npy.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from megatron_sbp.base import command_line
from megatron_sbp.pairing.embedding_options import add_embedding, embedding_values
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
        metavar="FILE",
        help="of unit norm, .npy or .parquet, from any model. .npy: their rows, one file after another, are the "
        "documents; FILE.npy.json beside one, if it is there, has a digest of the documents, which is compared. "
        ".parquet: columns id (see --id-field) and embedding, in any order",
    )
    add_embedding(vectors, "without --embeddings; with them, what FILE.json beside them must say, if it is given")
    vectors.set_defaults(model=None)
    search = parser.add_argument_group("neighbors")
    setting = partial(command_line.add_setting, search)
    setting("engine", NEIGHBORS.engine, "", ("scann", "exact"))
    setting("k", NEIGHBORS.k, "per document")
    search.add_argument("--leaves", type=int, help="of ScaNN's tree (default: about the square root of the documents)")
    search.add_argument("--leaves-to-search", type=int, help="(default: as --recall-target says)")
    search.add_argument("--reorder", type=int, help="candidates that ScaNN rescores exactly (default: likewise)")
    setting("recall-target", NEIGHBORS.recall_target, "share of the true neighbors that ScaNN must find on a sample")
    setting(
        "documents-per-index",
        NEIGHBORS.documents_per_index,
        "of ScaNN: more are searched part by part, each of whole files of --embeddings, with one index in memory at a "
        "time",
    )
    setting("recall-sample", NEIGHBORS.recall_sample, "documents whose recall is measured")
    command_line.add_device(search)
    rules = parser.add_argument_group("rules")
    setting = partial(command_line.add_setting, rules)
    setting("alpha", PAIRS.alpha, "pairs up to this similarity are dropped")
    rules.add_argument("--max-similarity", type=float, help="pairs above this are copies (default: no limit)")
    setting("shingle-tokens", PAIRS.shingle_tokens, "tokens of a shingle")
    setting("max-shared-shingles", PAIRS.max_shared_shingles, "pairs that share a larger part are near-duplicates")
    rules.add_argument("--max-targets-per-seed", type=int, help="best targets kept per seed document (default: all)")
    rules.add_argument("--max-seeds-per-target", type=int, help="best seed documents kept per target (default: all)")
    setting("min-target-tokens", PAIRS.min_target_tokens, "")
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
    setting(
        "directions",
        PAIRS.directions,
        "mined: as found; mutual: only pairs found in both directions; one: one direction of each pair",
        ("mined", "mutual", "one"),
    )
    setting(
        "relation",
        PAIRS.relation,
        "random, shuffled: controls, in place of the similar pairs; near_duplicates: only pairs that "
        "--max-shared-shingles drops otherwise",
        ("similar", *CONTROL_RELATIONS, "near_duplicates"),
    )
    command_line.add_seed(rules, "of random pairs, ScaNN's partitions, examples")
    return parser


def main() -> None:
    parser = build_parser()
    options = parser.parse_args()
    from megatron_sbp.documents.foreign import Source
    from megatron_sbp.pairing.standalone_mining import mine
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    kept = ("title", *options.same_fields, *options.different_fields)
    source = Source(options.inputs, options.text_field, options.id_field, optional_fields=kept)

    given = options.model
    options.model = given or Embedding().model

    def section[S: Section](kind: type[S]) -> S:
        return make_section(kind, **{name: getattr(options, name) for name in kind.model_fields})

    with command_line.errors_reported(options, given="inputs"):
        neighbors, rules = section(Neighbors), section(Pairs)
        tokenizer = open_tokenizer(options.tokenizer)
        vectors = options.embeddings or make_section(Embedding, **embedding_values(options))
        audit = mine(
            source,
            vectors,
            options.output,
            tokenizer=tokenizer,
            neighbors=neighbors,
            rules=rules,
            seed=options.seed,
            device=options.device,
            model=given,
        )
    printed = ("documents", "candidates", "kept", "dropped", "recall_at_k", "recall_above_alpha")
    print(json.dumps({name: audit[name] for name in printed}))


if __name__ == "__main__":
    main()
