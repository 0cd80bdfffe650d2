"""Bounds of every numeric key: they keep out what cannot work. What is merely unwise gets a warning in the plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`; an open end does not belong to it. None is no bound."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, number: float) -> bool:
        above = self.low is None or number > self.low or (number == self.low and not self.low_open)
        below = self.high is None or number < self.high or (number == self.high and not self.high_open)
        return above and below

    def __str__(self) -> str:
        """What a value must be: `above 0`, `0 or more`, `between 0 and 1`, `0 or more and below 1`."""
        if self.low is not None and self.high is not None and not (self.low_open or self.high_open):
            return f"between {self.low:,} and {self.high:,}"
        parts = []
        if self.low is not None:
            parts.append(f"above {self.low:,}" if self.low_open else f"{self.low:,} or more")
        if self.high is not None:
            parts.append(f"below {self.high:,}" if self.high_open else f"at most {self.high:,}")
        return " and ".join(parts)


_POSITIVE = Interval(low=0, low_open=True)
_NOT_NEGATIVE = Interval(low=0)
_FRACTION = Interval(0, 1)

_GROUPS: tuple[tuple[Interval, str], ...] = (
    (Interval(0, 1 << 32, high_open=True), "seed"),  # numpy's and Megatron's generators take 32 bits
    (
        _POSITIVE,
        "documents.train documents.valid documents.test documents.documents_per_shard tokenizer.train_characters "
        "model.num_layers model.hidden_size model.ffn_hidden_size model.num_attention_heads model.num_query_groups "
        "model.sequence_length model.kv_channels model.make_vocab_size_divisible_by model.norm_epsilon "
        "model.init_method_std training.train_tokens training.global_batch_size training.micro_batch_size "
        "training.learning_rate training.adam_eps training.eval_interval training.eval_sequences "
        "training.save_interval training.log_interval tuning.learning_rate tuning.global_batch_size "
        "tuning.micro_batch_size tuning.sequence_length tuning.max_seed_tokens tuning.max_target_tokens "
        "tuning.eval_interval tuning.eval_sequences tuning.patience embedding.max_tokens embedding.batch_size "
        "neighbors.k neighbors.leaves neighbors.leaves_to_search neighbors.reorder pairs.shingle_tokens "
        "pairs.max_targets_per_seed pairs.min_target_tokens synthesis.tokens synthesis.max_new_tokens "
        "synthesis.draws_per_shard synthesis.batch_size evaluation.batch_size "
        "evaluation.choice_context evaluation.choice_continuation evaluation.quality_documents "
        "evaluation.duplicate_pairs launch.nodes launch.ranks_per_node launch.tensor_parallel "
        "launch.pipeline_parallel launch.context_parallel launch.threads_per_rank launch.workers "
        "slurm.gpus_per_node slurm.cpus_per_task slurm.array_size",
    ),
    (
        _NOT_NEGATIVE,
        "documents.oracle documents.min_characters training.min_learning_rate training.weight_decay "
        "tuning.min_learning_rate training.clip_grad tuning.weight_decay neighbors.recall_sample "
        "filter.min_tokens slurm.max_requeues",
    ),
    (Interval(low=1), "model.rotary_base synthesis.tokens_per_draw"),  # rotary_base reaches Megatron as a whole number
    (Interval(1, 1000), "synthesis.margin"),
    (Interval(low=4), "evaluation.choice_questions"),  # one group
    (Interval(1, 1 << 31, high_open=True), "tokenizer.vocab_size"),  # ids of IndexedDatasets have at most 32 bits
    (
        _FRACTION,
        "training.warmup_fraction tuning.warmup_fraction pairs.max_shared_shingles filter.max_repetition "
        "filter.max_copying filter.duplicate_threshold",
    ),
    (Interval(0, 1, low_open=True), "synthesis.top_p"),
    (Interval(0, 1, high_open=True), "training.adam_beta1 training.adam_beta2"),
    (Interval(-1, 1), "pairs.alpha pairs.max_similarity"),  # cosines
    (Interval(0, 100, low_open=True), "synthesis.temperature"),
    (Interval(0, 1000, low_open=True), "tuning.max_epochs"),
)

BOUNDS: dict[str, Interval] = {key: interval for interval, keys in _GROUPS for key in keys.split()}
"""By dotted key. All of them apply to values that are not null."""
