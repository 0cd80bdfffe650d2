"""Settings of the documents: the corpus, its splits, and the tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megatron_sbp.recipe.sections.section import Section
from megatron_sbp.recipe.values import Count, Int, Place, Text, Whole


class Documents(Section):
    """The documents and their splits."""

    inputs: list[Place]
    """Files or glob patterns, relative to the recipe's folder: .jsonl, .jsonl.gz, .jsonl.zst or .parquet."""
    train: Count
    """Documents in D, the unique real data of the baseline and of SBP."""
    valid: Count
    """Documents held out for validation: losses while training, and the pairs that stop the tuning."""
    test: Count
    """Documents held out for the final evaluation."""
    oracle: Whole | None = None
    """Additional unique documents that only the oracle sees; null takes all that remain."""
    text_field: Text = "text"
    """Field that holds the document's text."""
    id_field: Text | None = None
    """Field that holds a unique id; null makes the id from a digest of the text."""
    keep_fields: list[Text] = []
    """Fields that are copied into documents/."""
    license: Text | None = None
    """License of the documents, for the cards that `sbp publish` writes: an identifier of the Hugging Face hub
    (`cc-by-4.0`, `gfdl`), or the name of another license; null leaves it unspecified. Affects nothing else."""
    min_characters: Whole = 1
    """Documents with fewer characters, after stripping white space, are dropped and counted."""
    bad_documents: Literal["fatal", "skip"] = "fatal"
    """Malformed JSON, missing field, invalid UTF-8: stop, or count and list them and continue."""
    documents_per_shard: Count = 100_000
    """Documents in one file of documents/; the unit of work of tokenize, embed and neighbors."""


class Tokenizer(Section):
    """A tokenizer trained on the train split, or any Hugging Face tokenizer."""

    path: Text | None = None
    """Hugging Face name or folder (a folder is relative to the recipe's); null trains a byte-level BPE on D."""
    vocab_size: Int = Field(49_152, ge=1, lt=1 << 31)  # ids of IndexedDatasets have at most 32 bits
    """Entries of the tokenizer trained here, special tokens included. Ignored with `path`."""
    train_characters: Count | None = None
    """Characters of D on which the BPE is trained; null takes all of D. Ignored with `path`."""
    end_of_document: Text = "<|endoftext|>"
    """Token that ends every document."""
    padding: Text = "<|padding|>"
    """Token that pads a sequence; never predicted."""
    separator: Text = "<|related|>"
    """Token between the seed document and its target; reserved from the first run on."""
