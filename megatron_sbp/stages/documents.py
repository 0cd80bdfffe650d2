"""`sbp documents`: reads the corpus once, drops duplicates, and writes the splits in shards."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage, span


class DocumentsStage(Stage):
    """Reads the files of the corpus, each once, and cuts the splits.

    A unit is one file (memory of 256 MB, whatever its size), or several where there are more than 512 (1 GB), and is
    named after the first and the last. Then one process drops duplicates by digests (30 to 130 bytes for each of at
    most 40 million documents at a time), and shards are written on all cores. Disk: a temporary copy of what is usable,
    compressed.
    """

    name = "documents"
    title = "read the corpus, drop duplicates, and split it into train, oracle, valid, and test"
    sharded = True

    def __init__(self) -> None:
        self._found: tuple[tuple[list[str], Path], dict[str, list[Path]]] | None = None

    def external(self, run: Run) -> list[Path]:
        from megatron_sbp.documents.corpus_files import corpus_files

        return corpus_files(run.recipe.documents, run.recipe.folder, run.recipe.place_of("documents.inputs"))[0]

    def settings(self, run: Run) -> JsonObject:
        return {**settings(run.recipe.documents, "inputs", "license"), "seed": run.recipe.seed}

    def units(self, run: Run) -> list[str]:
        # Kept for `run_unit`: finding all of 30,000 files again for each of them takes longer than reading them.
        self._found = _place(run), self._groups(run)
        return list(self._found[1])

    def _groups(self, run: Run) -> dict[str, list[Path]]:
        """The files of every unit."""
        from megatron_sbp.documents.input_groups import input_groups

        found = self.external(run)
        groups = input_groups(found)
        return {span(f"{group[0]:05d}", f"{group[-1]:05d}"): [found[place] for place in group] for group in groups}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("documents",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.documents.corpus import read_part

        recipe = run.recipe
        found = self._found
        groups = found[1] if found is not None and found[0] == _place(run) else self._groups(run)
        return read_part(
            recipe.documents,
            recipe.seed,
            groups[unit],
            run.document_parts / unit,
            source=recipe.source,
        )

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.documents.corpus import CorpusTooSmall, join_parts
        from megatron_sbp.documents.written_shards import NAME

        recipe = run.recipe
        try:
            written = join_parts(
                recipe.documents,
                recipe.seed,
                [run.document_parts / unit for unit in self.units(run)],
                run.audit_documents.parent,
                folder=recipe.folder,
                rejection_audit=run.rejection_audit(self.name),
                source=recipe.source,
            )
        except CorpusTooSmall as error:
            raise recipe.error(error.key or "documents", error.reason) from error
        return [*written, run.document_parts / NAME]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.document_parts)


def _place(run: Run) -> tuple[list[str], Path]:
    """The settings by which the files of the corpus are found."""
    return run.recipe.documents.inputs, run.recipe.folder
