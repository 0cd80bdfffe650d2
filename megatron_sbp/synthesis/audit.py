"""Counts of kept and dropped raw generations, with examples of the texts that every rule dropped:
synthetic/audit.json."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.base.counts import named_counts
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.index_layout import IndexPlan
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.dropped_examples import DroppedExamples, Measure
from megatron_sbp.synthesis.further_rules import LOOKED_UP, measure_names
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.retokenized import UNKNOWN, RetokenizedCounts
from megatron_sbp.synthesis.rule_names import VERDICTS, rule_names


class Audit:
    """Counts of one shard or of all shards.

    Args:
        rules: the recipe's filter section.
        measure: measures of the stored examples; see `DroppedExamples`.
    """

    def __init__(self, rules: Filter, measure: Measure | None = None):
        names = rule_names(rules)
        self._limit = rules.max_corpus_copying
        self.counts = dict.fromkeys(("generations", "generated_tokens", "finished", "kept", "tokens"), 0)
        self.dropped = dict.fromkeys(names, 0)
        self.examples = DroppedExamples(rules, measure)
        self.measured = {name: [0, 0.0] for name in measure_names(rules)}
        """Number of measured texts, and the sum of the measure."""
        self.retokenized = RetokenizedCounts()

    def add(
        self,
        row: JsonObject,
        verdict: int,
        tokens: int,
        measures: Mapping[str, float | None],
        state: int = UNKNOWN,
    ) -> None:
        """Counts a generation: its row, the verdict on it, its tokens, its measures by name, and how its text compares,
        tokenized again."""
        self.retokenized.add(state, verdict == PASSED)
        self.counts["generations"] += 1
        self.counts["generated_tokens"] += row["tokens"]
        self.counts["finished"] += row["finished"]
        for name, value in measures.items():
            if value is not None:
                self.measured[name][0] += 1
                self.measured[name][1] += value
        if verdict == PASSED:
            self.counts["kept"] += 1
            self.counts["tokens"] += tokens
            return
        rule = VERDICTS[verdict]
        self.dropped[rule] += 1
        self.examples.add(rule, row, tokens - 1, measures)

    def counted(self) -> JsonObject:
        """Argument for `join`."""
        found = {"counts": self.counts, "dropped": self.dropped, "examples": self.examples.told()}
        return {
            **found,
            **({"measured": self.measured} if self.measured else {}),
            **({"retokenized": self.retokenized.__dict__} if self.retokenized.documents else {}),
        }

    def join(self, part: JsonObject) -> None:
        """Adds the counts of the next shard."""
        for name, count in part["counts"].items():
            self.counts[name] += count
        for rule in self.dropped:
            self.dropped[rule] += part["dropped"][rule]
        self.examples.join(part["examples"])
        for name, both in self.measured.items():
            both[:] = [mine + other for mine, other in zip(both, part["measured"][name], strict=True)]
        self.retokenized.join(part.get("retokenized", {}))  # missing if no row had ids

    def line(self) -> str:
        """Human-readable summary of the kept and dropped generations."""
        generations, kept, tokens = (self.counts[name] for name in ("generations", "kept", "tokens"))
        dropped = named_counts(self.dropped).replace("_", " ")
        return (
            f"{kept:,} of {generations:,} generations kept, {tokens:,} tokens, "
            f"{tokens / max(1, generations):.1f} per generation; dropped: {dropped or 'none'}"
        )

    def summary(self, index: IndexPlan | None) -> JsonObject:
        """Contents of audit.json.

        Args:
            index: of the shingles of D; None without lookups.
        """
        counts = self.counts
        generations, kept, tokens = counts["generations"], counts["kept"], counts["tokens"]
        return {
            "generations": generations,
            "generated_tokens": counts["generated_tokens"],
            "finished_share": counts["finished"] / generations if generations else 0.0,
            "kept": kept,
            "tokens": tokens,
            "mean_tokens": tokens / kept if kept else 0.0,
            "tokens_per_generation": tokens / generations if generations else 0.0,
            "dropped": self.dropped,
            "examples": self.examples.told(),
            **({"measured": self._measured(index)} if self.measured else {}),
            **({"retokenized": self.retokenized.summary()} if self.retokenized.documents else {}),
        }

    def _measured(self, index: IndexPlan | None) -> JsonObject:
        """`documents` and `mean` of every measure; for `corpus_copying`, also the accuracy of a text's share."""
        found: JsonObject = {
            name: {"documents": documents, "mean": total / documents if documents else None}
            for name, (documents, total) in self.measured.items()
        }
        if index is not None and self._limit is not None:
            mean = found[LOOKED_UP]["mean"]
            error = index.standard_error(self._limit, mean) if mean else None
            found["corpus_copying"] |= {"sampled": index.sampled, "standard_error_at_limit": error}
        return found
