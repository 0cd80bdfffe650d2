"""Settings of the evaluation: of the arms, and of the quality of the synthetic text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megatron_sbp.recipe.sections.section import DEFAULTS, Section
from megatron_sbp.recipe.values import Count, Fraction, Int, Place, Positive, Temperature, Text, Whole


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
