"""Settings of the search for related documents: embeddings, nearest neighbors, and the rules for pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections.section import DEFAULTS, Section
from megatron_sbp.recipe.values import Cosine, Count, Fraction, Place, Prose, Share, Switch, Text, Whole


class VllmPooling(Section):
    """Settings of vLLM for embedding. None of these changes vectors by more than rounding."""

    model_config = ConfigDict(frozen=True)

    python: Place | None = None
    """Interpreter, relative to the recipe's folder, of an environment with vLLM and this package, in which the stage
    runs. null is the interpreter of the command."""
    gpu_memory: Share | None = None
    """Share of each GPU's memory that vLLM takes; null leaves it to vLLM (about 0.9)."""
    eager: Switch | None = None
    """Without compiled kernels and CUDA graphs; null does so on CPUs."""


class Embedding(Section):
    """Document embeddings."""

    model: Text = "Qwen/Qwen3-Embedding-0.6B"
    """Hugging Face name, a folder (relative to the recipe's), or `package:NAME` for a model inside a Python package."""
    max_tokens: Count = 512
    """Tokens of a document that the embedder reads, counted by its own tokenizer; no more than the embedder takes."""
    engine: Literal["sentence_transformers", "vllm"] = "sentence_transformers"
    """What embeds the documents. vllm: its pooling mode, for models that it supports, on GPUs; on CPUs it needs vLLM's
    CPU build. Generations and the texts of quality metrics are always embedded by sentence-transformers."""
    batch_size: Count = 32
    """Documents in one forward pass, unless batch_tokens is given; vLLM forms its own batches."""
    batch_tokens: Count | None = None
    """Tokens in one forward pass, padding included: many short documents or a few long ones, so a GPU is always
    equally full. null uses batch_size."""
    vllm: VllmPooling = DEFAULTS
    prompt: Prose = ""
    """Text prepended to every document."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the embedder. Stored vectors are float16."""

    def of_vectors(self) -> JsonObject:
        """Settings that change vectors by more than rounding, except the engine."""
        return self.model_dump(include={"model", "max_tokens", "prompt", "precision"})


class Neighbors(Section):
    """The k nearest documents of every document, by inner product of unit vectors."""

    engine: Literal["scann", "exact"] = "scann"
    """scann: approximate, CPU, Linux on x86-64 or aarch64. exact: tiles of matrix products on CPU or GPU."""
    k: Count = 200
    """Neighbors kept per document, not counting itself."""
    leaves: Count | None = None
    """ScaNN: partitions in the tree of an index; null is about the square root of its number of documents."""
    leaves_to_search: Count | None = None
    """ScaNN: partitions searched per query; null follows from `recall_target`."""
    reorder: Count | None = None
    """ScaNN: candidates rescored exactly; null follows from `recall_target`, and is 4 k, at least 100, where
    leaves_to_search is given."""
    recall_target: Share = 0.95
    """ScaNN: share of the true neighbors that must be found on a sample; the cheapest search that does is used."""
    documents_per_index: Count = 2_000_000
    """ScaNN: documents in one index, approximately; more are searched part by part, with one index in memory at a
    time: 4.5 bytes per document and dimension, 9 GB for 2 million documents of 1,024 dimensions."""
    recall_sample: Whole = 1000
    """Documents whose exact neighbors are computed to measure recall; 0 skips this."""


CONTROL_RELATIONS = ("random", "shuffled")
"""Values of `pairs.relation` that produce unrelated pairs."""


class Pairs(Section):
    """Rules for the neighbors that become pairs (d1, d2)."""

    alpha: Cosine = 0.75
    """Pairs must have a similarity above this."""
    max_similarity: Cosine | None = None
    """Pairs above this are dropped as copies; null sets no limit."""
    shingle_tokens: Count = 13
    """Tokens in a shingle of the near-duplicate rule."""
    max_shared_shingles: Fraction = 0.15
    """Pairs that share more than this fraction of the shorter document's shingles are dropped as near-duplicates."""
    max_targets_per_seed: Count | None = None
    """Best targets kept per seed document; null keeps all."""
    min_target_tokens: Count = 1
    """Targets with fewer tokens are dropped."""
    max_target_tokens: Count | None = None
    """Targets with more tokens are dropped; null keeps them, and tuning truncates them to its own
    `max_target_tokens`."""
    max_seeds_per_target: Count | None = None
    """Best seed documents kept per target, after all other rules: a document that is close to very many is a hub.
    null keeps all."""
    same_fields: list[Text] = []
    """Fields (from documents.keep_fields) in which both documents of a pair must have the same value, such as the
    language. A document that lacks one has no pairs."""
    different_fields: list[Text] = []
    """Fields (from documents.keep_fields) in which they must not have the same value, such as the web site."""
    collapse_above: Fraction | None = None
    """Neighbors above alpha that share more than this fraction of the shorter document's shingles are copies of each
    other: only the first in D becomes a seed document and a target, so that a page with many versions counts once. null
    collapses none."""
    directions: Literal["mined", "mutual", "one"] = "mined"
    """mined: every pair in the direction in which it was found; most are found in both. mutual: only pairs that were
    found in both. one: a random direction of each pair that was found in both. The cap per seed document applies before
    this rule, the cap per target after it."""
    relation: Literal["similar", "random", "shuffled", "near_duplicates"] = "similar"
    """similar: mined neighbors. random: the same seed documents with random targets, the control that any claim
    about relatedness needs. shuffled: a control with the same targets, each as often as it was mined, but reassigned
    among pairs of about the same similarity. near_duplicates: only neighbors that the near-duplicate rule would
    otherwise drop, for a synthesizer that rephrases."""
