"""The sections of a recipe: every choice of a run, in dataclasses.

Lengths are in tokens unless the doc string says otherwise. `null` in YAML is None here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from megatron_sbp.base.errors import InputError


@dataclass
class Documents:
    """Which documents, and how they are split."""

    inputs: list[str]
    """Files or glob patterns, relative to the recipe's folder: .jsonl, .jsonl.gz, .jsonl.zst or .parquet."""
    train: int
    """Documents in D, the unique real data of the baseline and of SBP."""
    valid: int
    """Documents held out for validation: losses while training, and the pairs that stop the tuning."""
    test: int
    """Documents held out for the final figures."""
    oracle: int | None = None
    """Further unique documents that only the oracle sees; null takes all that are left."""
    text_field: str = "text"
    """Field that holds the document's text."""
    id_field: str | None = None
    """Field that holds a unique id; null makes the id from a digest of the text."""
    keep_fields: list[str] = field(default_factory=list)
    """Fields that are carried along into documents/."""
    min_characters: int = 1
    """Documents with fewer characters, after stripping white space, are dropped and counted."""
    bad_documents: Literal["fatal", "skip"] = "fatal"
    """Malformed JSON, missing field, invalid UTF-8: stop, or count, list and go on."""
    documents_per_shard: int = 100_000
    """Documents in one file of documents/; the unit of work of tokenize, embed and neighbors."""


@dataclass
class Tokenizer:
    """Trained here on the train split, or any Hugging Face tokenizer."""

    path: str | None = None
    """Hugging Face name or folder (a folder is relative to the recipe's); null trains a byte-level BPE on D."""
    vocab_size: int = 49_152
    """Entries of the tokenizer trained here, special tokens included. Ignored with `path`."""
    train_characters: int | None = None
    """Characters of D on which the BPE is trained; null takes all of D. Ignored with `path`."""
    end_of_document: str = "<|endoftext|>"
    """Token that closes every document."""
    padding: str = "<|padding|>"
    """Token that fills a sequence; never predicted."""
    separator: str = "<|related|>"
    """Token between the seed document and its target; reserved from the first run on."""


@dataclass
class Model:
    """A Llama-style decoder: RMSNorm, SwiGLU, RoPE, grouped-query attention, no biases."""

    num_layers: int
    """Decoder layers."""
    hidden_size: int
    """Width of the residual stream."""
    ffn_hidden_size: int
    """Width inside the SwiGLU block."""
    num_attention_heads: int
    """Query heads."""
    num_query_groups: int
    """Key and value heads."""
    sequence_length: int
    """Training context in tokens."""
    kv_channels: int | None = None
    """Size of a head; null is hidden_size / num_attention_heads."""
    qk_layernorm: bool = True
    """RMSNorm on queries and keys. With it the export is a Qwen3 checkpoint, without it a Llama one."""
    tied_embeddings: bool = True
    """Input and output embeddings share one matrix."""
    rotary_base: float = 500_000.0
    """Base of the rotary position embedding."""
    norm_epsilon: float = 1e-5
    """Epsilon of RMSNorm."""
    init_method_std: float = 0.02
    """Standard deviation of the initial weights."""
    make_vocab_size_divisible_by: int = 128
    """The embedding is padded to a multiple of this (Megatron's flag of the same name)."""

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.kv_channels or self.hidden_size // self.num_attention_heads


@dataclass
class Training:
    """The three arms: baseline, sbp, oracle. One setting for all of them."""

    train_tokens: int
    """Budget of every arm, rounded up to whole global batches."""
    global_batch_size: int
    """Sequences in an optimizer step."""
    micro_batch_size: int
    """Sequences in one forward pass of one data-parallel rank."""
    learning_rate: float = 3e-4
    """Peak of the cosine schedule."""
    min_learning_rate: float = 3e-5
    """End of the cosine schedule."""
    warmup_fraction: float = 0.05
    """Share of the samples over which the learning rate rises linearly."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay."""
    adam_beta1: float = 0.9
    """AdamW's first-moment decay."""
    adam_beta2: float = 0.95
    """AdamW's second-moment decay."""
    adam_eps: float = 1e-8
    """AdamW's epsilon."""
    clip_grad: float = 1.0
    """Global gradient norm above which gradients are scaled down."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic of forward and backward pass; bf16 keeps fp32 main weights."""
    epochs: Literal["strict", "joint"] = "strict"
    """strict: a new permutation per epoch, the order of a longer run begins like a shorter one. joint: Megatron's own
    GPTDataset, all epochs shuffled together."""
    eval_interval: int = 100
    """Optimizer steps between validations."""
    eval_sequences: int = 64
    """Validation sequences, rounded up to whole global batches."""
    save_interval: int = 1000
    """Optimizer steps between checkpoints; the last step always saves."""
    log_interval: int = 10
    """Optimizer steps between log lines."""
    model_builder: Literal["gpt", "hybrid"] = "gpt"
    """Megatron's GPTModel, or its HybridModel with the same layers. Both compute the same and share their checkpoints:
    a training may change from one to the other between starts."""
    megatron: dict[str, Any] = field(default_factory=dict)
    """More Megatron flags for all trainings, by their names without dashes in front: `recompute-granularity: full`;
    true for a flag without value, false or null to leave it out."""


@dataclass
class Tuning:
    """The synthesizer: p(target | seed document), tuned from the baseline's checkpoint or from another model."""

    start: str | None = None
    """What the synthesizer begins as. null or `last`: the baseline's last checkpoint, as in the paper. `best`: its
    checkpoint with the lowest held-out loss (the baseline then saves at every evaluation, and keeps that one).
    `scratch`: new weights; a start that has memorized D recalls its targets and does not learn to read the seed.
    Anything else: the folder of a Hugging Face checkpoint (Llama, or Qwen3 with QK-norm; safetensors, with its
    tokenizer), relative to the recipe's. Its shape must be the recipe's model, its tokenizer the run's
    (`tokenizer.path` can name the same folder)."""
    learning_rate: float = 5e-6
    """Peak, after the warm-up."""
    min_learning_rate: float | None = None
    """End of a cosine schedule over `max_epochs`; null keeps the rate constant, as the paper does."""
    warmup_fraction: float = 0.0
    """Share of the planned samples over which the learning rate rises linearly."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay."""
    max_epochs: float = 3.0
    """Passes over the pairs at most."""
    global_batch_size: int = 256
    """Packed sequences in an optimizer step."""
    micro_batch_size: int = 1
    """Packed sequences in one forward pass of one data-parallel rank."""
    sequence_length: int | None = None
    """Length of a packed sequence; null is the model's. It may be longer: a pair always fits into the model's, and
    attention stays inside it. Where pairs are nearly as long as the model's context, that leaves less padding."""
    max_seed_tokens: int | None = None
    """Longer seed documents are cut; null leaves them half of the room of a pair."""
    max_target_tokens: int | None = None
    """Longer targets lose their end (and then carry no end-of-document); null leaves what the seed left over."""
    seed_cut: Literal["head", "tail"] = "tail"
    """Which end of a long seed document is cut away."""
    eval_interval: int = 50
    """Optimizer steps between validations on pairs of the valid split. Each saves a checkpoint."""
    eval_sequences: int = 64
    """Packed validation sequences, rounded up to whole global batches; at most one pass over the valid pairs."""
    patience: int = 2
    """Validations without a better loss after which tuning stops; the best checkpoint is kept."""


@dataclass
class Embedding:
    """Document embeddings by sentence-transformers."""

    model: str = "Qwen/Qwen3-Embedding-0.6B"
    """Hugging Face name, a folder (relative to the recipe's), or `package:NAME` for a model inside a Python package."""
    max_tokens: int = 512
    """Tokens of a document that the embedder reads, counted by its own tokenizer; no more than the embedder takes."""
    batch_size: int = 32
    """Documents in one forward pass."""
    prompt: str = ""
    """Text put in front of every document."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the embedder. Stored vectors are float16."""


@dataclass
class Neighbors:
    """The k nearest documents of every document, by inner product of unit vectors."""

    engine: Literal["scann", "exact"] = "scann"
    """scann: approximate, CPU, x86-64 Linux. exact: tiles of matrix products on CPU or GPU."""
    k: int = 200
    """Neighbors kept per document, itself not counted."""
    leaves: int | None = None
    """ScaNN: partitions of the tree; null is about sqrt(documents)."""
    leaves_to_search: int | None = None
    """ScaNN: partitions looked into per query; null is a quarter of them, at least 1."""
    reorder: int | None = None
    """ScaNN: candidates scored again exactly; null is 4 k, at least 100."""
    recall_sample: int = 1000
    """Documents whose exact neighbors are computed to measure the recall; 0 measures none."""


@dataclass
class Pairs:
    """Which neighbors become pairs (d1, d2)."""

    alpha: float = 0.75
    """Pairs have a similarity above this."""
    max_similarity: float | None = None
    """Pairs above this are dropped as copies; null sets no limit."""
    shingle_tokens: int = 13
    """Tokens in a shingle of the near-duplicate rule."""
    max_shared_shingles: float = 0.15
    """Pairs that share a larger part of the shorter document's shingles are near-duplicates and dropped."""
    max_targets_per_seed: int | None = None
    """Best targets kept per seed document; null keeps all."""
    min_target_tokens: int = 1
    """Targets with fewer tokens are dropped."""
    relation: Literal["similar", "random"] = "similar"
    """similar: mined neighbors. random: the same seed documents with targets drawn at random, the control without
    which nothing may be claimed for relatedness."""


@dataclass
class Synthesis:
    """Drawing seed documents and writing a related document for each."""

    tokens: int
    """Synthetic tokens of the SBP arm, end-of-document included: used once each, real data fills the rest."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers: CPU or GPU. vllm: GPU."""
    temperature: float = 1.0
    """Softmax temperature."""
    top_p: float = 0.9
    """Nucleus: the smallest set of tokens with at least this probability."""
    max_new_tokens: int | None = None
    """A text that has not ended by then is unfinished; null leaves what the seed left over of the context."""
    tokens_per_draw: float | None = None
    """Expected tokens that one draw leaves after the filters; null takes the mean length of the targets tuned on."""
    margin: float = 1.3
    """Draws are planned for this many times `tokens`, since filters drop some."""
    draws_per_shard: int = 4096
    """Draws in one file of synthetic/; the unit of work."""
    batch_size: int = 64
    """Draws generated together."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of generation."""


@dataclass
class Filter:
    """What is dropped from the synthetic documents, and counted."""

    min_tokens: int = 16
    """Shorter texts are dropped."""
    unfinished: Literal["keep", "drop"] = "drop"
    """What to do with texts that reached max_new_tokens without an end-of-document."""
    max_repetition: float = 0.3
    """Texts in which a larger share of the word 4-grams repeats an earlier one are dropped."""
    max_copying: float = 0.15
    """Texts that share a larger part of their shingles (pairs.shingle_tokens) with their seed document are dropped."""
    duplicates: Literal["keep", "exact", "near"] = "near"
    """exact: the same text twice is dropped. near: MinHash near-duplicates too."""
    duplicate_threshold: float = 0.7
    """Jaccard similarity of word 5-grams at which two texts are near-duplicates."""


@dataclass
class Evaluation:
    """Held-out figures of every arm, and the quality of the synthetic text."""

    batch_size: int = 16
    """Sequences in one forward pass."""
    choice_questions: int = 500
    """Questions 'which is the true continuation of this document?', in groups of four; at most one per document."""
    choice_context: int = 64
    """Tokens of the document shown."""
    choice_continuation: int = 32
    """Tokens of each of the four continuations."""
    quality_documents: int = 500
    """Documents per group (synthetic, real) on which quality is measured."""
    duplicate_pairs: int = 1_000_000
    """Random pairs of documents in which near-duplicates are counted (the paper's duplicate@1M)."""
    questions: str | None = None
    """JSON lines of cloze questions for closed-book recall, relative to the recipe's folder: prompt, choices, answer,
    tag, group (megatron_sbp/evaluation/questions.py)."""
    question_group_field: str | None = None
    """Field of the documents (one of documents.keep_fields) that holds a question's group: recall is then also reported
    by the number of the group's documents in D."""


@dataclass
class Launch:
    """How many processes, where. Nothing here changes a byte of documents, pairs or synthetic text."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where torch finds it."""
    nodes: int = 1
    """Machines of one training."""
    ranks_per_node: int = 1
    """Megatron processes per machine: GPUs, or CPU ranks."""
    tensor_parallel: int = 1
    """Megatron's --tensor-model-parallel-size."""
    pipeline_parallel: int = 1
    """Megatron's --pipeline-model-parallel-size."""
    context_parallel: int = 1
    """Megatron's --context-parallel-size (Transformer Engine only)."""
    threads_per_rank: int = 1
    """OMP_NUM_THREADS of every CPU rank."""
    distributed_optimizer: bool = False
    """Megatron's --use-distributed-optimizer."""
    workers: int = 1
    """Processes that share the shards of one stage on this machine."""


@dataclass
class Slurm:
    """What `sbp submit` puts on top of its sbatch scripts."""

    partition: str | None = None
    """--partition of GPU jobs."""
    cpu_partition: str | None = None
    """--partition of CPU jobs; null is the same as `partition`."""
    account: str | None = None
    """--account."""
    qos: str | None = None
    """--qos."""
    time: str = "04:00:00"
    """--time of every job; training requeues itself until it is done."""
    gpus_per_node: int | None = None
    """--gpus-per-node of GPU jobs; null asks for none (CPU ranks)."""
    cpus_per_task: int = 8
    """--cpus-per-task."""
    array_size: int = 64
    """Array tasks of a sharded stage; at most the site's MaxArraySize."""
    max_requeues: int = 100
    """Times a training job puts itself back into the queue before it gives up."""
    setup: str = ""
    """Shell lines run first in every job: modules, virtual environment, NCCL variables."""
    sbatch: list[str] = field(default_factory=list)
    """Further sbatch options, verbatim: `--exclusive`."""
    container_image: str | None = None
    """Pyxis --container-image of every step; null runs without a container."""
    container_mounts: str | None = None
    """Pyxis --container-mounts."""


@dataclass
class Recipe:
    """One run: the same recipe drives a laptop and a thousand GPUs."""

    name: str
    """Shown in the report and in job names."""
    documents: Documents
    tokenizer: Tokenizer
    model: Model
    training: Training
    synthesis: Synthesis
    seed: int = 1
    """Seed of every random choice in the run."""
    run_folder: str | None = None
    """Where the run lives, relative to the current folder: a new or empty folder, or this recipe's run folder. null is
    runs/FOLDER for FOLDER/recipe.yaml, and runs/FILE for any other FILE.yaml."""
    note: str = ""
    """Free text for the reader of the report."""
    marks: dict[str, str] = field(default_factory=dict)
    """How sure a value is (V, S2, S, A, M, O: docs/paper.md), by recipe key: `pairs.alpha: S`."""
    tuning: Tuning = field(default_factory=Tuning)
    embedding: Embedding = field(default_factory=Embedding)
    neighbors: Neighbors = field(default_factory=Neighbors)
    pairs: Pairs = field(default_factory=Pairs)
    filter: Filter = field(default_factory=Filter)
    evaluation: Evaluation = field(default_factory=Evaluation)
    launch: Launch = field(default_factory=Launch)
    slurm: Slurm = field(default_factory=Slurm)
    source: Path | None = field(default=None, metadata={"internal": True})
    """The file that the recipe was read from; paths in the recipe are relative to its folder."""
    lines: dict[str, int] = field(default_factory=dict, metadata={"internal": True}, repr=False, compare=False)
    """Line of every key in the file, from 1; 0 for a key that came from the command line."""

    @property
    def folder(self) -> Path:
        """Folder to which the recipe's paths are relative."""
        return self.source.parent if self.source else Path.cwd()

    def to_dict(self) -> dict[str, Any]:
        """Every value, defaults included, as JSON-able types."""
        internal = {spec.name for spec in dataclasses.fields(self) if spec.metadata.get("internal")}
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in internal}

    def error(self, key: str, message: str) -> InputError:
        """An error about a value of this recipe, with the file and the line where it was given.

        Args:
            key: Dotted key. Where it was not given, the line is that of the section around it.
            message: What is wrong with its value.
        """
        near = key
        while near and near not in self.lines:
            near = near.rpartition(".")[0]
        line = self.lines.get(near)
        if line == 0:
            return InputError(message, file="command line", key=key)
        return InputError(message, file=self.source, line=line, key=key)

    @property
    def tuning_sequence_length(self) -> int:
        """Tokens of a packed sequence of pairs."""
        return self.tuning.sequence_length or self.model.sequence_length

    @property
    def pair_room(self) -> int:
        """Tokens of the longest pair, separator and end-of-document included: what model and sequence can hold."""
        return min(self.tuning_sequence_length, self.model.sequence_length)

    @property
    def max_seed_tokens(self) -> int:
        """Tokens that a seed document may have in front of the separator."""
        return self.tuning.max_seed_tokens or self.pair_room // 2

    @property
    def max_target_tokens(self) -> int:
        """Tokens that a target may have, separator and end-of-document not counted."""
        return self.tuning.max_target_tokens or self.pair_room - self.max_seed_tokens - 2

    @property
    def max_new_tokens(self) -> int:
        """Tokens that the synthesizer may write, end-of-document included."""
        return self.synthesis.max_new_tokens or self.max_target_tokens + 1


def settings(section: Any, *leave_out: str) -> dict[str, Any]:
    """The fields of a recipe section as a dict, for a stage's settings, without those that change no output."""
    return {key: value for key, value in dataclasses.asdict(section).items() if key not in leave_out}
