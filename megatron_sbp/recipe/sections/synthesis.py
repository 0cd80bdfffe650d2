"""Settings of the synthetic text: sampling, and the filters on it."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections.section import DEFAULTS, Section
from megatron_sbp.recipe.values import (
    AtLeastOne,
    Cosine,
    Count,
    Float,
    Fraction,
    Place,
    Positive,
    Share,
    Switch,
    Text,
    Whole,
)


class Vllm(Section):
    """Settings of the vLLM engine. Its texts are reproducible only as far as vLLM's kernels are: see
    docs/synthesis.md."""

    model_config = ConfigDict(frozen=True)

    python: Place | None = None
    """Interpreter, relative to the recipe's folder, of an environment with vLLM and this package, in which the stage
    runs. null is the interpreter of the command. Changes no text."""
    tensor_parallel: Count = 1
    """GPUs that share the weights. Changes texts: sums are split differently."""
    max_num_seqs: Count | None = None
    """Maximum number of texts generated concurrently; null leaves it to vLLM. Changes batches only."""
    gpu_memory: Share | None = None
    """Share of each GPU's memory that vLLM takes; null leaves it to vLLM (about 0.9); on a CPU, 1 GiB of keys and
    values. Changes batches only."""
    prefix_caching: Switch = True
    """Reuses a prompt's keys and values while they are in memory, which in a run they hardly ever are: the texts of a
    seed document are a pass over D apart. Changes batches only."""
    chunked_prefill: Switch | None = None
    """Processes long prompts in chunks while other texts are being generated; null does so on GPUs. Not possible on
    CPUs. Changes batches only."""
    eager: Switch | None = None
    """Without compiled kernels and CUDA graphs; null does so on CPUs. Changes texts: kernels round differently."""
    batch_invariant: Switch = False
    """vLLM's batch-invariant kernels (slower, only for GPUs on its list): a text then does not depend on the others in
    its batch. Changes texts: other kernels round differently."""
    speculative_tokens: Whole = 0
    """Speculative tokens, proposed from n-grams of the text so far and verified together; 0 disables this. Not possible
    on CPUs. Changes texts: other random numbers are drawn."""

    def of_text(self) -> JsonObject:
        """The keys that choose kernels, split sums, or draw other random numbers: another value changes the texts.

        Keys that only change which requests share a batch are not among them: a resumed shard has other batches than an
        uninterrupted one, so batches never determine a text.
        """
        return self.model_dump(include={"tensor_parallel", "eager", "batch_invariant", "speculative_tokens"})


class Synthesis(Section):
    """Sampling seed documents and writing a related document for each."""

    tokens: Count
    """Synthetic tokens of the SBP arm, including end-of-document: each is used once, and real data fills the rest."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers: reproducible bytes on CPUs. vllm: for GPUs; on CPUs it needs vLLM's CPU build."""
    temperature: Float = Field(1.0, gt=0, le=100)
    """Softmax temperature; at most 2 with vLLM."""
    top_p: Float = Field(0.9, gt=0, le=1)
    """Nucleus: the smallest set of tokens with at least this probability."""
    max_new_tokens: Count | None = None
    """Maximum length of a text, which is unfinished if it has not ended by then; null uses the rest of the context
    after the seed."""
    tokens_per_generation: AtLeastOne | None = None
    """Expected tokens of a generation after the filters; null takes the mean length of the targets tuned on."""
    margin: Float = Field(1.3, ge=1, le=1000)
    """Generations are planned for this many times `tokens`, since filters drop some. With a pilot: for this many times
    the tokens that its results call for; the margin then covers duplicates and chance."""
    stop: Literal["planned", "passed"] = "planned"
    """planned: as many generations are written as margin and pilot say. passed: shards are written in order only until
    `margin` times `tokens` have passed the single-text filters; the margin then only has to cover duplicates and
    min_similarity (1 is allowed: any shortfall after them is generated later)."""
    pilot: Whole = 0
    """Generations that are written and filtered before the rest are planned (stages `pilot` and `judge-pilot`; whole
    shards, which count toward the total). The rest is then planned so that `tokens` pass the filters. 0: no pilot."""
    generations_per_shard: Count = 4096
    """Generations in one file of synthetic/; the unit of work."""
    batch_size: Count = 64
    """Generations per batch. vLLM forms its own batches."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of generation."""
    vllm: Vllm = DEFAULTS


class Filter(Section):
    """Filters on the generations. Dropped texts are counted."""

    broken_text: Literal["keep", "drop"] = "drop"
    """What to do with texts that contain invalid UTF-8 (U+FFFD) or control characters other than white space."""
    min_tokens: Whole = 16
    """Shorter texts are dropped, as are all texts of only white space."""
    unfinished: Literal["keep", "drop"] = "drop"
    """What to do with texts that reached max_new_tokens without an end-of-document."""
    max_repetition: Fraction = 0.3
    """Texts in which a larger share of the word 4-grams repeats an earlier one are dropped. Words are what white space
    separates: in one long string, or in Chinese, Japanese, or Thai, there are none to repeat."""
    max_token_repetition: Fraction | None = None
    """Texts in which a larger share of the runs of 8 tokens repeats an earlier one are dropped; null measures
    nothing."""
    max_periodic_tail: Fraction | None = None
    """Texts that end in a loop are dropped: those in which a larger share of the tokens, at their end, repeats what
    precedes it by one period. null measures nothing."""
    max_copying: Fraction = 0.15
    """Texts that share more than this fraction of the shorter one's shingles (pairs.shingle_tokens) with their seed
    document are dropped. This also drops a text that contains all of a short seed document."""
    max_corpus_copying: Fraction | None = None
    """Texts are dropped if a larger fraction of their shingles (pairs.shingle_tokens) occurs in any document of D; null
    disables this. Needs an index of D (corpus_index_gb)."""
    corpus_index_gb: Positive = 8.0
    """GiB of the index of D's shingles, on disk and in the page cache of every machine that filters. If they do not
    all fit, a sample of them is kept, and shares are estimates (docs/synthesis.md)."""
    contaminated: Literal["keep", "drop"] | None = None
    """What to do with texts that contain an item of the evaluation (a question of evaluation.questions with its answer,
    one of a task of evaluation.harness with its answer or alone, or a test document): a 13-gram of its words, or all of
    its words if it has 8 to 12. Both count such texts, and quality.json then says how many items occur in D and in the
    synthetic text; null looks for none."""
    predicate: Text | None = None
    """FILE.py:FUNCTION, the file relative to the recipe's folder: a Python function that receives batches of texts with
    their seed documents and returns for each whether to keep it (docs/synthesis.md). It runs as part of the program;
    the stage does not notice changes in files that the function reads."""
    min_similarity: Cosine | None = None
    """Texts less similar to their seed document than this, by the embedder of the pairs, are dropped; null embeds none.
    Needs a pass of the embedder over all generations (stage `compare`)."""
    duplicates: Literal["keep", "exact", "near"] = "near"
    """exact: repeats of the same text are dropped. near: MinHash near-duplicates as well."""
    duplicate_threshold: Fraction = 0.7
    """Jaccard similarity of word 5-grams at which two texts are near-duplicates."""
    retokenize: bool = False
    """Whether training reads a text's canonical tokenization, as for real documents, instead of the tokens that the
    synthesizer generated."""

    @property
    def further(self) -> tuple[object, ...]:
        """Values of the opt-in rules, in order of application; None for a disabled rule."""
        return (self.max_corpus_copying, self.contaminated, self.predicate, self.min_similarity)
