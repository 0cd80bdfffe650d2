"""`sbp publish`: the finished parts of a run, as folders for the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.executor.confirmed import check_intact, finished_outputs
from megatron_sbp.executor.manifests import Outputs
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, suffix, synthesizer_run
from megatron_sbp.stages.stage import Stage


def publish_run(run: Run, graph: list[Stage], target: Path) -> list[Path]:
    """Writes the synthetic corpora that have been filtered and the models that have been exported, with cards.

    Every file is read first and compared with the manifest of its stage.

    Args:
        run: finished or not; unfinished parts are named and left out. Nothing in it is changed.
        graph: all stages of its recipe.
        target: a folder outside the run folder that is missing or empty.

    Returns:
        The folders of the repositories.

    Raises:
        InputError: see `publishing.publish.publish`; the target is inside the run folder; a stage was made under other
            settings than the recipe's; a file that would be published is missing or damaged.
    """
    from megatron_sbp.publishing.publish import Corpus, Exported, PublishSources, publish

    target = target.absolute()
    if target.resolve().is_relative_to(run.root):
        raise InputError(f"is inside the run folder {run.root}, which only the program may write to", file=target)
    finished = finished_outputs(run, graph)
    outputs: Outputs = {path: entry for entries in finished.values() for path, entry in entries.items()}
    corpora: dict[str, Corpus] = {}
    models: dict[str, Exported] = {}
    missing: list[str] = []

    def made_by(stage: str, folder: Path) -> list[Path]:
        return sorted(path for path in (run.root / name for name in finished.get(stage, {})) if path.parent == folder)

    def if_made(file: Path) -> Path | None:
        return file if run.relative(file) in outputs else None

    def take_model(name: str, folder: Path, stage: str, replicate: int, end: str) -> None:
        held = made_by(stage, folder)
        if held:
            models[name + end] = Exported(name, held, replicate)
        else:
            missing.append(f"model {name}{end}")

    for number in range(1, run.recipe.replicates + 1):
        inner, end = replicate_run(run, number), "" if number == 1 else f"-{number}"
        for arm in run.recipe.arms:
            take_model(arm, inner.export(arm), f"export-arms{suffix(replicate=number)}", number, end)
        for writer in run.recipe.used_synthesizers:
            own, of_writer = synthesizer_run(inner, writer), suffix(writer, number)
            if run.recipe.synthesizers[writer].method != "replacement":
                folder = own.export("synthesizer")
                take_model(f"synthesizer-{writer}", folder, f"export-synthesizer{of_writer}", number, end)
            kept = made_by(f"filter{of_writer}", own.synthetic)
            if kept:
                shards = [path for path in kept if path != own.audit_synthetic]
                quality = if_made(inner.evaluation("quality" + suffix(writer)))
                corpora[writer + end] = Corpus(shards, own.audit_synthetic, quality)
            else:
                missing.append(f"synthetic documents of {writer}{end}")
    results = if_made(run.results_file)
    wanted = [file for corpus in corpora.values() for file in (*corpus.shards, corpus.audit, corpus.quality) if file]
    wanted += [file for model in models.values() for file in model.held]
    check_intact(run, outputs, [*wanted, *([results] if results else [])], "publish: comparing digests")
    made = publish(PublishSources(corpora, models, results), run.recipe, target)
    if missing:
        say(f"publish: not finished and left out: {', '.join(missing)}")
    if run.recipe.documents.license is None:
        say("publish: the recipe names no license for the documents (documents.license): the cards say `unknown`")
    return made
