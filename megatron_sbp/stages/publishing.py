"""`sbp publish`: what of a run is finished, as folders for the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, suffix, synthesizer_run


def publish_run(run: Run, target: Path) -> list[Path]:
    """Writes the synthetic corpora that have been filtered and the models that have been exported, with cards.

    Args:
        run: finished or not; what is not there is named and left out. Nothing in it is changed.
        target: a folder outside the run folder that is not there or empty.

    Returns:
        The folders of the repositories.

    Raises:
        InputError: see `publishing.publish.publish`; the target is inside the run folder.
    """
    from megatron_sbp.publishing.publish import Corpus, Exported, PublishSources, publish

    target = target.absolute()
    if target.resolve().is_relative_to(run.root):
        raise InputError(f"is inside the run folder {run.root}, which belongs to the program alone", file=target)
    corpora: dict[str, Corpus] = {}
    models: dict[str, Exported] = {}
    missing: list[str] = []
    for number in range(1, run.recipe.replicates + 1):
        inner, end = replicate_run(run, number), "" if number == 1 else f"-{number}"
        exports = {arm: inner.export(arm) for arm in run.recipe.arms}
        for writer in run.recipe.used_synthesizers:
            own = synthesizer_run(inner, writer)
            if run.recipe.synthesizers[writer].method != "replacement":
                exports[f"synthesizer-{writer}"] = own.export("synthesizer")
            if own.audit_synthetic.exists():
                quality = inner.evaluation("quality" + suffix(writer))
                corpora[writer + end] = Corpus(own.synthetic_shards(), own.audit_synthetic, quality)
            else:
                missing.append(f"synthetic documents of {writer}{end}")
        for name, folder in exports.items():
            if (folder / "provenance.json").exists():
                models[name + end] = Exported(name, folder, number)
            else:
                missing.append(f"model {name}{end}")
    made = publish(PublishSources(corpora, models, run.results_file), run.recipe, target)
    if missing:
        say(f"publish: not finished and left out: {', '.join(missing)}")
    if run.recipe.documents.license is None:
        say("publish: the recipe names no license of the documents (documents.license): the cards say `unknown`")
    return made
