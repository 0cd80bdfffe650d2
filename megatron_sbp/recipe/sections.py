"""The sections of a recipe: every setting of a run, with its type and range.

The docstring under a field is its documentation, also in `sbp schema`. Lengths are in tokens unless stated otherwise.
Ranges reject invalid values; a merely unwise value gets a warning in the plan. `null` in YAML is None here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.values import (
    AtLeastOne,
    Cosine,
    Count,
    Decay,
    Flags,
    Float,
    Fraction,
    Int,
    Marks,
    MemoryLimit,
    NotNegative,
    Overrides,
    Place,
    Positive,
    Prose,
    Share,
    Switch,
    Temperature,
    Text,
    TimeLimit,
    Warmup,
    Whole,
)

DEFAULTS: Any = Field(default_factory=dict, validate_default=True)  # Any: what Field() returns, for any section
"""A section that can be left out."""


class Section(BaseModel):
    """Fields are checked when a section is created, but not by `model_copy(update=...)`."""

    # A run only ever validates Recipe: building a separate validator for each section would double the time.
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, defer_build=True)


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


class Model(Section):
    """A Llama-style decoder: RMSNorm, SwiGLU, RoPE, grouped-query attention, no biases."""

    num_layers: Count
    """Decoder layers."""
    hidden_size: Count
    """Dimension of the residual stream."""
    ffn_hidden_size: Count
    """Inner dimension of the SwiGLU block."""
    num_attention_heads: Count
    """Query heads."""
    num_query_groups: Count
    """Key and value heads."""
    sequence_length: Count
    """Training context in tokens."""
    kv_channels: Count | None = None
    """Size of a head; null is hidden_size / num_attention_heads."""
    qk_layernorm: Switch = True
    """RMSNorm on queries and keys. With it the export is a Qwen3 checkpoint, without it a Llama one."""
    tied_embeddings: Switch = True
    """Input and output embeddings share one matrix."""
    rotary_base: AtLeastOne = 500_000.0
    """Base of the rotary position embedding, a whole number."""
    norm_epsilon: Positive = 1e-5
    """Epsilon of RMSNorm."""
    init_method_std: Positive = 0.02
    """Standard deviation of the initial weights."""
    make_vocab_size_divisible_by: Count = 128
    """The embedding is padded to a multiple of this (Megatron's flag of the same name)."""

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.kv_channels or self.hidden_size // self.num_attention_heads


class Training(Section):
    """Training of the arms; the same for all, except for an arm's overrides."""

    train_tokens: Count
    """Budget of every arm, rounded up to whole global batches."""
    global_batch_size: Count
    """Sequences in an optimizer step."""
    micro_batch_size: Count
    """Sequences in one forward pass of one data-parallel rank."""
    learning_rate: Positive = 3e-4
    """Peak of the cosine schedule."""
    min_learning_rate: NotNegative = 3e-5
    """End of the cosine schedule."""
    warmup_fraction: Warmup = 0.05
    """Share of the samples over which the learning rate rises linearly."""
    weight_decay: NotNegative = 0.1
    """AdamW's decoupled weight decay."""
    adam_beta1: Decay = 0.9
    """AdamW's first-moment decay."""
    adam_beta2: Decay = 0.95
    """AdamW's second-moment decay."""
    adam_eps: Positive = 1e-8
    """AdamW's epsilon."""
    clip_grad: NotNegative = 1.0
    """Global gradient norm above which gradients are scaled down."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of forward and backward pass; bf16 keeps fp32 main weights."""
    epochs: Literal["strict", "joint"] = "strict"
    """strict: a new permutation per epoch; a longer run starts with the order of a shorter one. joint: Megatron's own
    GPTDataset, all epochs shuffled together."""
    eval_interval: Count = 100
    """Optimizer steps between validations."""
    eval_sequences: Count = 64
    """Validation sequences, rounded up to whole global batches."""
    save_interval: Count = 1000
    """Optimizer steps between checkpoints; the last step always saves."""
    log_interval: Count = 10
    """Optimizer steps between log lines."""
    tensorboard: bool = True
    """Write events for TensorBoard to models/NAME/tensorboard: `tensorboard --logdir RUN`."""
    wandb_project: Text | None = None
    """Weights & Biases project, with one run per training run. Nothing is sent unless WANDB_MODE=online; `wandb sync`
    uploads the files in models/NAME/wandb."""
    model_builder: Literal["auto", "gpt", "hybrid"] = "auto"
    """Megatron's HybridModel, or its GPTModel (deprecated by megatron-core) with the same layers. They compute the same
    function and share checkpoints: a training run can switch between them when it is restarted. auto: hybrid on CPUs,
    gpt on GPUs, where the two have not been compared yet, and with flags that were not compared (fp8, for example)."""
    megatron: Flags = {}
    """Additional Megatron flags for all training runs, by name without the leading dashes: `overlap-grad-reduce: true`;
    true for a flag without a value, false or null to leave it out."""


class Tuning(Section):
    """The synthesizer: p(target | seed document), tuned from the baseline's checkpoint or from another model."""

    start: Text | None = None
    """What the synthesizer is initialized from. null or `last`: the baseline's last checkpoint, as in the paper.
    `best`: its checkpoint with the lowest held-out loss (the baseline then saves at every evaluation, and keeps that
    one). `scratch`: new weights; a model that has memorized D recalls its targets and does not learn to read the seed.
    Anything else: the folder of a Hugging Face checkpoint (Llama, or Qwen3 with QK-norm; safetensors, with its
    tokenizer), relative to the recipe's folder. Its shape must match the recipe's model, its tokenizer the
    run's (`tokenizer.path` can name the same folder)."""
    start_arm: Text = "baseline"
    """The arm that `last` and `best` refer to. An arm other than the baseline adds a round: the synthesizer starts
    from a model that has read synthetic text."""
    learning_rate: Positive = 5e-6
    """Peak, after the warm-up."""
    min_learning_rate: NotNegative | None = None
    """End of a cosine schedule over `max_epochs`; null keeps the rate constant, as the paper does."""
    warmup_fraction: Warmup = 0.0
    """Share of the planned samples over which the learning rate rises linearly."""
    weight_decay: NotNegative = 0.1
    """AdamW's decoupled weight decay."""
    max_epochs: Float = Field(3.0, gt=0, le=1000)
    """Maximum number of passes over the pairs."""
    global_batch_size: Count = 256
    """Packed sequences in an optimizer step."""
    micro_batch_size: Count = 1
    """Packed sequences in one forward pass of one data-parallel rank."""
    sequence_length: Count | None = None
    """Length of a packed sequence; null is the model's. It can be longer: every pair fits into the model's context,
    and attention stays within a pair. Where pairs are nearly as long as that context, this leaves less padding."""
    max_seed_tokens: Count | None = None
    """Longer seed documents are truncated; null gives them half of a pair's length."""
    max_target_tokens: Count | None = None
    """Longer targets are truncated at the end (and then have no end-of-document); null gives them the rest of a pair's
    length."""
    seed_cut: Literal["head", "tail"] = "tail"
    """Which end of a long seed document is truncated."""
    eval_interval: Count = 50
    """Optimizer steps between validations on pairs of the valid split. Each saves a checkpoint; three stay at most."""
    eval_sequences: Count = 64
    """Packed validation sequences, rounded up to whole global batches; at most one pass over the valid pairs."""
    patience: Count = 2
    """Tuning stops after this many validations without a better loss; the best checkpoint is kept."""


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


class JudgeEndpoint(Section):
    """A judge of the synthetic text behind an OpenAI-compatible endpoint (docs/quality.md). It is used only if
    `base_url` and `model` are given; texts of D and synthetic texts are sent to it."""

    base_url: Text | None = None
    """Address of the API: `http://localhost:8000/v1`, `https://api.openai.com/v1`; null disables the judge. Changing
    the address for the same model invalidates nothing."""
    model: Text | None = None
    """Name of the model at the endpoint."""
    api_key_variable: Text | None = "OPENAI_API_KEY"
    """Environment variable that holds the key, in the processes that evaluate; null for a server that needs none."""
    temperature: Temperature | None = 0.0
    """Sampling temperature; null leaves it to the endpoint, for models with a fixed one."""
    requests_at_once: Count = 8
    """Number of concurrent requests."""
    timeout: Positive = 120.0
    """Timeout of a request in seconds, after which it is retried."""
    max_retries: Whole = 6
    """Times a request is retried after a failure (429, 5xx, timeout, closed connection), with growing pauses."""
    max_malformed: Fraction = 0.1
    """The evaluation stops if more than this share of the texts has no readable answer."""


class Harness(Section):
    """Benchmark tasks that lm-eval runs on the export of every arm (docs/evaluation.md). Without `tasks` there are
    none, and no stage for them."""

    tasks: list[Text] = []
    """Names of tasks, groups, or tags that `task_folder` defines: `[arc_easy, sciq, mmlu]`."""
    task_folder: Text | None = None
    """Folder of lm-eval's task files (YAML) with their data, relative to the recipe's folder. Paths in the files are
    relative to it. Functions that they name run as part of the program."""
    shots: dict[Text, Whole] = {}
    """Few-shot examples per question, by name in `tasks`: `{triviaqa: 1}`; the others keep their file's setting."""
    metrics: dict[Text, Text] = {}
    """The headline metric of the report and its averages, by task: `{arc_easy: acc_norm}`; for other tasks, the first
    in their file. All metrics are measured."""
    limit: Count | None = None
    """Documents of each task; null takes all. For trials: the results are then not the benchmark's."""
    batch_size: Count = 16
    """Requests in one forward pass. vLLM forms its own batches."""
    backend: Literal["hf", "vllm"] = "hf"
    """hf: transformers. vllm: for GPUs; `synthesis.vllm` says how many GPUs and how much of their
    memory."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the models."""
    python: Place | None = None
    """Interpreter, relative to the recipe's folder, of another environment with lm-eval (and vLLM for that backend);
    null is the interpreter of the command."""


class Evaluation(Section):
    """Held-out metrics of every arm, and quality of the synthetic text."""

    batch_size: Count = 16
    """Sequences in one forward pass."""
    choice_questions: Int = Field(500, ge=4)  # one group
    """Multiple-choice questions for the true continuation of a document, in groups of four; at most one per
    document."""
    choice_context: Count = 64
    """Tokens of the document shown."""
    choice_continuation: Count = 32
    """Tokens of each of the four continuations."""
    quality_documents: Count = 500
    """Documents per group (kept synthetic text, raw generations, real text) on which quality is measured, at most."""
    duplicate_pairs: Count = 1_000_000
    """Random pairs of documents in which near-duplicates are counted (the paper's duplicate@1M)."""
    questions: Text | None = None
    """JSON lines of cloze questions for closed-book recall, relative to the recipe's folder: prompt, choices, answer,
    tag, group (megatron_sbp/evaluation/questions.py). A file, a folder (all of its files *.jsonl), or a pattern."""
    recall_points: Whole = 0
    """Evenly spaced checkpoints of every arm, in addition to the last, on which recall is measured: recall against
    tokens. A training run started with this keeps them, with their optimizers; 0 measures only the last one."""
    judge: Text | None = None
    """FILE.py:FUNCTION, the file relative to the recipe's folder: a Python function that judges whether synthetic and
    real texts are factual and fit their seed document (megatron_sbp/evaluation/judge.py). It runs as part of the
    program; the stage does not notice changes in files that the function reads."""
    judge_endpoint: JudgeEndpoint = DEFAULTS
    harness: Harness = DEFAULTS
    question_group_field: Text | None = None
    """Field of the documents (one of documents.keep_fields) that holds a question's group: recall is then also reported
    by the number of the group's documents in D."""


class Launch(Section):
    """Number and placement of processes. Nothing here changes a byte of documents, pairs, or synthetic text."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where torch finds it."""
    nodes: Count = 1
    """Machines per training run."""
    ranks_per_node: Count = 1
    """Megatron processes per machine: GPUs, or CPU ranks."""
    tensor_parallel: Count = 1
    """Megatron's --tensor-model-parallel-size."""
    pipeline_parallel: Count = 1
    """Megatron's --pipeline-model-parallel-size."""
    context_parallel: Count = 1
    """Megatron's --context-parallel-size (Transformer Engine only)."""
    threads_per_rank: Count = 1
    """OMP_NUM_THREADS of every CPU rank."""
    distributed_optimizer: Switch = False
    """Megatron's --use-distributed-optimizer."""
    workers: Count = 1
    """Processes on this machine that share the shards of a stage."""


class SlurmJobs(Section):
    """Overrides for the jobs of some stages. null keeps the default request."""

    partition: Text | None = None
    """--partition."""
    account: Text | None = None
    """--account."""
    qos: Text | None = None
    """--qos."""
    constraint: Text | None = None
    """--constraint."""
    time: TimeLimit | None = None
    """--time."""
    memory: MemoryLimit | None = None
    """--mem."""
    cpus_per_task: Count | None = None
    """--cpus-per-task."""
    gpus_per_node: Count | None = None
    """--gpus-per-node of stages that use a GPU."""
    nodes: Count | None = None
    """--nodes of training runs, in place of `launch.nodes`: `{tune: {nodes: 2}}`."""
    sbatch: list[Text] = []
    """Additional sbatch options, after those of `slurm.sbatch`."""


class Slurm(Section):
    """Settings of the sbatch scripts of `sbp submit`."""

    partition: Text | None = None
    """--partition of GPU jobs."""
    cpu_partition: Text | None = None
    """--partition of CPU jobs; null is the same as `partition`."""
    account: Text | None = None
    """--account."""
    qos: Text | None = None
    """--qos."""
    time: TimeLimit = "04:00:00"
    """--time of training runs, which requeue themselves until they are done, and the most that any other job requests
    (HH:MM:SS, D-HH, minutes): other jobs request what their stage needs (slurm/README.md)."""
    gpus_per_node: Count | None = None
    """--gpus-per-node of GPU jobs; null requests none (CPU ranks)."""
    cpus_per_task: Count = 8
    """--cpus-per-task; stages that use few cores request fewer."""
    memory: MemoryLimit | None = None
    """--mem of every job: `64G`, `64000` (megabytes), `0` for all of a node, or `site` for the site's default; null
    requests what each stage needs (slurm/README.md)."""
    constraint: Text | None = None
    """--constraint."""
    stages: dict[Text, SlurmJobs] = {}
    """Overrides for some jobs, by kind (`cpu`, `gpu`, `training`), verb (`tune`: those of every synthesizer and
    replicate), or stage (`tune.random`); the most specific wins: `{cpu: {memory: 16G}, filter: {memory: 200G}}`. Those
    of `synthesize` and `judge` also apply to `pilot` and `judge-pilot`, unless these have their own."""
    array_size: Count = 64
    """Maximum number of array tasks of a sharded stage, further limited by the site's MaxArraySize and the number of
    units."""
    max_requeues: Whole = 100
    """Times a job requeues itself before it gives up."""
    max_retries: Whole = 2
    """Times a job that ends with a fault (a rank crashed or was killed) is retried; not if it fails the same way again
    without having saved anything since."""
    exclude_after: Whole = 2
    """Different faults on a node in this run (RUN/logs/slurm/faults) after which `sbp submit` excludes it, and a job
    that is retried avoids it; 0 excludes none."""
    launcher: Literal["srun", "torchrun", "ft_launcher"] = "srun"
    """Launcher of a training run's ranks. srun: a task per rank. torchrun: a task per node, in which torchrun starts
    the ranks, for sites that require it. ft_launcher: the same with the launcher of nvidia-resiliency-ext, which kills
    ranks that make no progress (`ft_options`); the job is then retried as after any other fault."""
    ft_options: list[Text] = [
        "--ft-rank-section-timeouts=setup:1800,step:600,checkpointing:1800",
        "--ft-rank-out-of-section-timeout=1800",
    ]
    """Options of ft_launcher: by default the seconds that a rank may take to start, for a step, for a checkpoint, and
    for anything else."""
    setup: Prose = ""
    """Shell lines run at the start of every job: modules, virtual environment, NCCL variables."""
    sbatch: list[Text] = []
    """Additional sbatch options, verbatim: `--exclusive`."""
    container_runtime: Literal["pyxis", "apptainer", "edf"] = "pyxis"
    """Container runtime. pyxis: srun --container-image. apptainer: apptainer exec. edf: srun --environment (the
    Container Engine of CSCS), whose file names image and mounts. See docs/containers.md."""
    container_image: Text | None = None
    """Image of every step (edf: name or file of the environment); null runs without a container."""
    container_mounts: Text | None = None
    """Pyxis --container-mounts, or Apptainer --bind: SOURCE:TARGET, separated by commas."""


class Arm(Section):
    """A model to be trained and compared, at the common budget of all arms."""

    synthetic: Text | None = None
    """The synthesizer whose text it reads once; null trains on real documents only."""
    synthetic_share: Share | None = None
    """Share of its training sequences that is synthetic, rounded down; null takes all of `synthesis.tokens`.
    Several arms with different shares of the same text make a sweep."""
    order: Literal["mixed", "synthetic_first"] = "mixed"
    """mixed: real and synthetic sequences alternate in proportion. synthetic_first: all synthetic ones, then the real
    ones."""
    documents: Literal["train", "oracle"] = "train"
    """Real documents: D, or D and the oracle's additional ones."""
    training: Overrides = {}
    """Keys of `training` that differ in this arm: `{weight_decay: 0.8}`. Those that determine the number of tokens
    cannot differ."""


class Synthesizer(Section):
    """A synthesizer's overrides of the recipe's sections: `{pairs: {relation: random}}`."""

    method: Literal["tuned", "samples", "replacement"] = "tuned"
    """tuned: a model tuned on pairs writes a related document for every seed document. samples: the baseline writes
    documents without a seed (plain self-distillation). replacement: a copy of every seed document with tokens replaced
    at random. The last two are controls and use no pairs."""
    replaced: Share = 0.15
    """Fraction of the tokens that `method: replacement` replaces with random tokens of D."""

    pairs: Overrides = {}
    """Keys of `pairs`."""
    tuning: Overrides = {}
    """Keys of `tuning`."""
    synthesis: Overrides = {}
    """Keys of `synthesis`."""
    filter: Overrides = {}
    """Keys of `filter`."""


CLASSIC_ARMS = {"baseline": Arm(), "sbp": Arm(synthetic=RELATED), "oracle": Arm(documents="oracle")}
"""The paper's arms, for a recipe without `arms`."""


class Recipe(Section):
    """A run; the same recipe format serves a laptop and a thousand GPUs."""

    name: Text
    """Shown in the report and in job names."""
    documents: Documents
    tokenizer: Tokenizer
    model: Model
    training: Training
    synthesis: Synthesis
    seed: Int = Field(1, ge=0, lt=1 << 32)  # numpy's and Megatron's generators take 32 bits
    """Seed of every random choice in the run."""
    run_folder: Place | None = None
    """The run folder, relative to the current folder: a new or empty folder, or this recipe's existing run folder. null
    is runs/FOLDER for FOLDER/recipe.yaml, and runs/FILE for any other FILE.yaml."""
    note: Prose = ""
    """Free text, shown in the report."""
    synthesizers: dict[Text, Synthesizer] = {RELATED: Synthesizer()}
    """The synthesizers, by name. `related` is the paper's; another one with `pairs: {relation: random}` is the control.
    Each is tuned and sampled once, even if several arms read its text."""
    arms: dict[Text, Arm] = CLASSIC_ARMS
    """The models to train and compare, by name. Without this key: baseline, sbp, and oracle, as in the paper."""
    replicates: Count = 1
    """Number of times synthesizers and arms are trained, each time with different weights, orders, and generations, on
    the same split. With several, intervals cover more than the noise of the test set."""
    marks: Marks = {}
    """Confidence in a value (V, S2, S, A, M, O: docs/paper.md), by recipe key: `pairs.alpha: S`."""
    tuning: Tuning = DEFAULTS
    embedding: Embedding = DEFAULTS
    neighbors: Neighbors = DEFAULTS
    pairs: Pairs = DEFAULTS
    filter: Filter = DEFAULTS
    evaluation: Evaluation = DEFAULTS
    launch: Launch = DEFAULTS
    slurm: Slurm = DEFAULTS
    _source: Path | None = None
    _first_seed: int | None = None
    _lines: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def source(self) -> Path | None:
        """The recipe's file; paths in the recipe are relative to its folder."""
        return self._source

    @source.setter
    def source(self, file: Path | None) -> None:
        self._source = file

    @property
    def lines(self) -> dict[str, int]:
        """Line of every key in the file, from 1; 0 for a key that came from the command line."""
        return self._lines

    @property
    def folder(self) -> Path:
        """Folder to which the recipe's paths are relative."""
        return self.source.parent if self.source else Path.cwd()

    @property
    def used_synthesizers(self) -> list[str]:
        """Synthesizers whose text an arm reads, `related` first, then in the order of the recipe."""
        read = {arm.synthetic for arm in self.arms.values()}
        return sorted((name for name in self.synthesizers if name in read), key=lambda name: name != RELATED)

    @property
    def tuned_synthesizers(self) -> list[str]:
        """The `used_synthesizers` that are tuned on pairs."""
        return [name for name in self.used_synthesizers if self.synthesizers[name].method == "tuned"]

    def start_arm_of(self, synthesizer: str) -> str | None:
        """The arm whose weights a synthesizer starts from; None if they are not an arm's.

        Samples are taken from the baseline.
        """
        method = self.synthesizers[synthesizer].method
        if method != "tuned":
            return "baseline" if method == "samples" else None
        tuning = self.for_synthesizer(synthesizer).tuning
        return tuning.start_arm if (tuning.start or "last") in ("last", "best") else None

    def round_of(self, synthesizer: str) -> int:
        """1 for a synthesizer that starts from a model without synthetic text, 2 if it starts from an arm of round
        1."""
        arm = self.start_arm_of(synthesizer)
        writer = None if arm is None else self.arms[arm].synthetic
        return 1 if writer is None else 1 + self.round_of(writer)

    @property
    def evaluation_seed(self) -> int:
        """Seed of the test questions, the same in all replicates."""
        return self.seed if self._first_seed is None else self._first_seed

    def for_synthesizer(self, name: str) -> Recipe:
        """This recipe with the sections of one synthesizer."""
        return self._with(self.synthesizers[name])

    def for_arm(self, name: str) -> Recipe:
        """This recipe with the sections of one arm."""
        return self._with(self.arms[name])

    def for_replicate(self, number: int) -> Recipe:
        """This recipe with the seed of a replicate, counted from 1; the first keeps the recipe's seed."""
        if number == 1:
            return self
        # A stride too large to reach by counting up, so that `seed: 2` and the second replicate share nothing.
        copy = self._changed(seed=(self.seed + 1_000_003 * (number - 1)) % (1 << 32))
        copy._first_seed = self.evaluation_seed
        return copy

    def overridden(self, section: str, values: Mapping[str, JsonValue]) -> Recipe:
        """This recipe with some keys of a section changed.

        Raises:
            pydantic.ValidationError: an unknown key, a wrong type, or out of range.
        """
        present: Section = getattr(self, section)
        merged = present.model_dump()
        for key, value in values.items():
            inner = isinstance(getattr(present, key, None), Section) and isinstance(value, dict)
            merged[key] = {**merged[key], **value} if inner else value
        return self._changed(**{section: type(present).model_validate(merged)})

    def _with(self, about: Arm | Synthesizer) -> Recipe:
        recipe = self
        for section, values in about:
            if isinstance(values, dict) and values:
                recipe = recipe.overridden(section, values)
        return recipe

    def _changed(self, **values: object) -> Recipe:
        return self.model_copy(update=values)

    def to_dict(self) -> JsonObject:
        """All values, including defaults, as JSON-able types."""
        return self.model_dump()

    def error(self, key: str, message: str) -> InputError:
        """An error about a value of this recipe, with the file and the line where it was given.

        Args:
            key: Dotted key. If it was not given, the line is that of the enclosing section.
            message: The problem with its value.
        """
        return error_at(key, message, self.source, self.lines)

    def place_of(self, key: str) -> Path | str | None:
        """Source of a value for messages: the recipe's file, or the command line."""
        return self.error(key, "").file

    @property
    def tuning_sequence_length(self) -> int:
        """Length of a packed sequence of pairs, in tokens."""
        return self.tuning.sequence_length or self.model.sequence_length

    @property
    def pair_room(self) -> int:
        """Maximum length of a pair in tokens, including separator and end-of-document: the limit of model and
        sequence."""
        return min(self.tuning_sequence_length, self.model.sequence_length)

    @property
    def max_seed_tokens(self) -> int:
        """Maximum tokens of a seed document, excluding the separator."""
        return self.tuning.max_seed_tokens or self.pair_room // 2

    @property
    def max_target_tokens(self) -> int:
        """Maximum tokens of a target, excluding separator and end-of-document."""
        return self.tuning.max_target_tokens or self.pair_room - self.max_seed_tokens - 2

    @property
    def max_new_tokens(self) -> int:
        """Maximum tokens that the synthesizer may generate, including end-of-document."""
        return self.synthesis.max_new_tokens or self.max_target_tokens + 1


def settings(section: Section, *leave_out: str) -> JsonObject:
    """A recipe section as a dict, for a stage's settings, without fields that do not change outputs."""
    return section.model_dump(exclude=set(leave_out))


def error_at(key: str, message: str, file: Path | None, lines: Mapping[str, int]) -> InputError:
    """An error about a dotted key, with the line of the nearest enclosing key that was given."""
    near = key
    while near and near not in lines:
        near = near.rpartition(".")[0]
    line = lines.get(near)
    if line == 0:
        return InputError(message, file="command line", key=key)
    return InputError(message, file=file, line=line, key=key)
