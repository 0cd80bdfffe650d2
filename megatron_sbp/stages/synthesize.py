"""`sbp synthesize`: writes raw generations, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.units import has_pilot
from megatron_sbp.recipe import settings
from megatron_sbp.recipe.sections import Synthesis, Synthesizer
from megatron_sbp.stages import passing
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.extending import planned_more
from megatron_sbp.stages.run_folder import Run, identity_file, shard_name
from megatron_sbp.stages.stage import HalfDone, Stage
from megatron_sbp.stages.synthetic_writer import writer_of

if TYPE_CHECKING:
    from megatron_sbp.synthesis.live import Live


class SynthesizeStage(Stage):
    """Writes synthetic/generations/NNNNN.jsonl.zst: raw generations, one row each, with their parents.

    Args:
        about: the synthesizer's section of the recipe; its method and share of replaced tokens are used.
        round: of synthesis, see `Recipe.round_of`; rows carry it.
    """

    name = "synthesize"
    sharded = True

    def __init__(self, about: Synthesizer | None = None, round: int = 1):
        self._about, self._round = about or Synthesizer(), round
        self.title = _TITLES[self.method]
        self.device = "cpu" if self.method == "replacement" else "gpu"

    @property
    def method(self) -> str:
        """How the text is written, `synthesizers.NAME.method`."""
        return self._about.method

    def gpus(self, run: Run) -> int:
        chosen = run.recipe.synthesis
        return chosen.vllm.tensor_parallel if chosen.engine == "vllm" else 1

    def python(self, run: Run) -> Path | None:
        chosen = run.recipe.synthesis
        if self.method == "replacement" or chosen.engine != "vllm" or chosen.vllm.python is None:
            return None
        return run.recipe.folder / chosen.vllm.python

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {
            "documents": (usual.documents("train"),),
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            "tokenize": (usual.tokens("real"),),
            # The verdicts of the filters change the number of units, but none of them: see `settings`.
            **({"judge-pilot": ()} if self._piloted(run) else {}),
        }
        if self.counts(run):  # likewise the inputs of the filters
            found |= {name: () for name in passing.stages_to_count(run) if name not in found}
        if self.method == "tuned":
            found["tokenize-pairs"] = (usual.audit_tokens("pairs_audit"),)
        else:
            found["tokenize"] += (usual.audit_tokens("audit"),)
        if self.method != "replacement":
            found["export-synthesizer"] = usual.weights("synthesizer")
        return found

    def settings(self, run: Run) -> JsonObject:
        measured = {}
        if self._piloted(run) and run.pilot_audit.exists():
            measured = {"tokens_that_pass": files.read_json(run.pilot_audit)["tokens_per_generation"]}
        more = planned_more(run)
        if more:
            measured["more_generations"] = more
        chosen = run.recipe.synthesis
        if self.counts(run):
            # The pilot and the expected length only say with how many shards to begin.
            expected = {key: value for key, value in measured.items() if key != "tokens_that_pass"}
            plan = settings(chosen, "pilot", "tokens_per_generation", *_unread(chosen))
            stops = {"target": passing.target_tokens(run.recipe), "passing": passing.rules_digest(run)}
            return {**self.unit_settings(run), **plan, **expected, **stops}
        return {**self.unit_settings(run), **settings(chosen, "pilot", "stop", *_unread(chosen)), **measured}

    def unit_settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        if self.method == "replacement":
            return {"seed": recipe.seed, "replaced": self._about.replaced}
        return {
            **({"method": self.method} if self.method != "tuned" else {}),
            **({"round": self._round} if self._round > 1 else {}),
            **settings(recipe.synthesis, *_OF_THE_PLAN, *_unread(recipe.synthesis)),
            **({"vllm": recipe.synthesis.vllm.of_text()} if recipe.synthesis.engine == "vllm" else {}),
            "seed": recipe.seed,
            "max_seed_tokens": recipe.max_seed_tokens,
            "max_new_tokens": recipe.max_new_tokens,
            "seed_cut": recipe.tuning.seed_cut,
        }

    def units(self, run: Run) -> list[str]:
        size = run.recipe.synthesis.generations_per_shard
        if self.counts(run):
            needed = passing.needed_shards(run, self._tokens_per_generation(run) * size)
            shards = max(needed, -(-planned_more(run) // size))
        else:
            shards = -(-max(self._generations(run), planned_more(run)) // size)
        return [shard_name(index) for index in range(shards)]

    def counts(self, run: Run) -> bool:
        return run.recipe.synthesis.stop == "passed"

    def count(self, run: Run, unit: str) -> None:
        passing.count_shard(run, unit)

    def counted(self, run: Run) -> set[str]:
        return {shard_name(number) for number in passing.counted(run, passing.rules_digest(run))}

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.GENERATIONS, usual.GENERATED, usual.MORE_GENERATIONS)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        output = run.generation_shard(unit)
        self.write(run, unit, output, run.pilot_shard(unit))
        return [output]

    def unit_progress(self, run: Run, unit: str) -> str:
        from megatron_sbp.synthesis.unfinished import unfinished_of

        kept = unfinished_of(self._shard(run, unit))
        return f"({kept.stat().st_size} bytes of texts)" if kept.exists() else ""

    def half_done(self, run: Run) -> dict[str, HalfDone]:
        from megatron_sbp.synthesis.unfinished import half_written, work_in

        half = half_written(self.folder(run))
        return {name.removesuffix(JSONL_ZST): HalfDone(file, work_in(file)) for name, file in half.items()}

    def spent_on(self, run: Run, unit: str) -> float:
        from megatron_sbp.synthesis.shard_record import read_record, record_of
        from megatron_sbp.synthesis.unfinished import unfinished_of, work_in

        shard = self._shard(run, unit)
        record = read_record(record_of(shard))
        return record.tally.seconds if record else work_in(unfinished_of(shard))

    def pace(self, run: Run) -> str:
        from megatron_sbp.base.progress import duration

        live = self._look(run, self.units(run))
        if not live.updated:
            return ""
        passed = f"; {passing.progress(run)}" if self.counts(run) else ""
        return f"{live}{passed}; written {duration(max(0.0, time.time() - live.updated))} ago"

    def folder(self, run: Run) -> Path:
        """Where its shards are."""
        return run.generations

    def _shard(self, run: Run, unit: str) -> Path:
        return self.folder(run) / f"{unit}{JSONL_ZST}"

    def _look(self, run: Run, units: Sequence[str]) -> Live:
        from megatron_sbp.synthesis.live import look

        return look(
            self.folder(run),
            units,
            run.recipe.synthesis.generations_per_shard,
            min_tokens=run.recipe.filter.min_tokens,
            drops_unfinished=run.recipe.filter.unfinished == "drop",
            counted=passing.acceptance(run) if self.counts(run) else None,
        )

    def write(self, run: Run, unit: str, output: Path, pilot: Path | None = None) -> str:
        """Writes one shard of generations, or copies the pilot's; returns what `write_shard` does."""
        from megatron_sbp.synthesis.live import Glances
        from megatron_sbp.synthesis.writing import FinishedShard, write_shard

        finished = None
        if pilot is not None and self._piloted(run) and pilot.exists():
            finished = FinishedShard(pilot, files.read_json(identity_file(pilot))["identity"])

        # Shards are always whole: a larger plan then adds shards and changes none.
        size = run.recipe.synthesis.generations_per_shard
        begin, units = int(unit) * size, self.units(run)
        return write_shard(
            output,
            begin,
            begin + size,
            synthesizer=writer_of(run, self._about, self._round),
            documents=run.document_shards("train"),
            tokens=run.tokens("real"),
            label=f"{self.name} {unit}",
            finished=finished,
            min_tokens=run.recipe.filter.min_tokens,
            further=Glances(lambda: self._look(run, units)),
        )

    def noted_by_others(self, run: Run) -> list[Path]:
        return [run.more_generations]  # filter plans more, repeatedly

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.unfinished import drop_unfinished

        units = self.units(run)
        drop_unfinished(run.generations, units, others=not self.counts(run))
        counts = passing.summary(run, len(units)) if self.counts(run) else {}
        files.write_json(run.generated, {"shards": len(units), **counts})
        if counts:
            passing.drop_counts(run, units)
        return [run.generated, *([run.more_generations] if run.more_generations.exists() else [])]

    def _piloted(self, run: Run) -> bool:
        return has_pilot(run.recipe.synthesis, self.method)

    def _generations(self, run: Run) -> int:
        from megatron_sbp.synthesis.generations import planned_generations

        chosen = run.recipe.synthesis
        planned = planned_generations(chosen.tokens, chosen.margin, self._tokens_per_generation(run))
        return max(planned, files.read_json(run.pilot_audit)["generations"]) if self._piloted(run) else planned

    def _tokens_per_generation(self, run: Run) -> float:
        """Tokens of a generation that are expected to pass: those of the pilot, or of a text of the usual length."""
        if self._piloted(run):
            return float(files.read_json(run.pilot_audit)["tokens_per_generation"])
        expected = run.recipe.synthesis.tokens_per_generation
        if expected is None and self.method == "tuned":
            expected = files.read_json(run.audit_tokens("pairs_audit"))["pairs"]["mean_target_tokens"]
        elif expected is None:
            real = files.read_json(run.audit_tokens("audit"))["real"]
            expected = real["tokens"] / real["documents"]
        return float(expected)


_OF_THE_PLAN = ("tokens", "margin", "tokens_per_generation", "pilot", "stop")
"""Keys that decide how many generations there are; that changes none of them."""


def _unread(chosen: Synthesis) -> tuple[str, ...]:
    """Keys that change no text with the engine chosen; of `vllm` those that do are added by themselves."""
    return ("vllm", "batch_size") if chosen.engine == "vllm" else ("vllm",)


_TITLES = {
    "tuned": "write a related document for each sampled seed document",
    "samples": "write documents without a seed document",
    "replacement": "write the seed documents again with random tokens replaced",
}
