"""`sbp scan-corpus`: overlap of D with the texts that the quality sheet compares."""

from __future__ import annotations

import shutil
from pathlib import Path

from megatron_sbp.base.locks import locked
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.questions import question_files
from megatron_sbp.planning.units import scanned_shards
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.evaluation_items import item_reads
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage, span


class ScanCorpusStage(Stage):
    """Writes synthetic/corpus_findings/SHEET/KIND-NNNNN-NNNNN.npz: the overlap of a part of D with the texts that the
    quality sheet compares; with `filter.contaminated`, also which evaluation items a part of the synthetic text has.

    A unit is a part: about 500,000 documents, more where that would be over 512 parts. The texts are chosen once, by
    the first process. Memory of a unit: the tables to look up, 8 GB for 10,000 texts of 600 words in every group;
    if they are smaller, several processes read, as far as 16 GB allow.

    Args:
        sheet: unit of `evaluate` that takes it.
    """

    name = "scan-corpus"
    title = "look up in the train documents what the quality sheet needs: n-grams and shingles"
    sharded = True

    def __init__(self, sheet: str = "quality"):
        self.sheet = sheet

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        held_out = (usual.documents("test"),) if _with_items(run) else ()
        return {
            "documents": (usual.documents("train"), usual.documents("valid"), *held_out),
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            "tokenize": (usual.tokens("real"), usual.tokens("valid")),
            **item_reads(run),
            "synthesize": (usual.inside(usual.GENERATIONS),),
            "filter": (usual.SYNTHETIC_FILES,),
        }

    def external(self, run: Run) -> list[Path]:
        return question_files(run.recipe) if _with_items(run) else []

    def settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        return {
            "seed": recipe.seed,
            "quality_documents": recipe.evaluation.quality_documents,
            "shingle_tokens": recipe.pairs.shingle_tokens,
            "max_new_tokens": recipe.max_new_tokens,
            "items": _with_items(run),
        }

    def units(self, run: Run) -> list[str]:
        return list(self._parts(run))

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.corpus_findings(self.sheet),)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.evaluation.corpus_scan import Part, scan_part, write_wanted
        from megatron_sbp.stages.quality_files import quality_files

        kind, place = self._parts(run)[unit]
        shards = self._shards(run)[kind]
        found = quality_files(run)
        wanted = run.chosen_texts(self.sheet)
        with locked(wanted.with_name(usual.LOCK), f"{self.name} {unit}"):
            if not wanted.exists():
                write_wanted(found, run.recipe, wanted)
        output = run.finding(self.sheet, unit)
        part = Part(kind, shards[place.start : place.stop], shards[: place.start])
        scan_part(part, found, wanted, run.recipe.pairs.shingle_tokens, output)
        return [output]

    def finish(self, run: Run) -> list[Path]:
        shutil.rmtree(run.chosen_texts(self.sheet).parent, ignore_errors=True)
        return []

    def _parts(self, run: Run) -> dict[str, tuple[str, range]]:
        """Kind of every part, and which of its shards; by unit."""
        found = {}
        for kind, shards in self._shards(run).items():
            size = scanned_shards(run.recipe, kind, len(shards))
            for begin in range(0, len(shards), size):
                place = range(begin, min(begin + size, len(shards)))
                first, last = (shards[at].name.partition(".")[0] for at in (place[0], place[-1]))
                found[f"{kind}-{span(first, last)}"] = kind, place
        return found

    def _shards(self, run: Run) -> dict[str, list[Path]]:
        """Files by kind, in the order in which they are joined."""
        found = {"real": run.document_shards("train")}
        if _with_items(run):
            found |= {"synthetic": run.synthetic_shards(), "generations": run.generation_shards()}
        return found


def _with_items(run: Run) -> bool:
    """Whether the sheet counts items of the evaluation."""
    return run.recipe.filter.contaminated is not None
