"""Dataset and model cards: README.md with a YAML header, as the Hugging Face hub reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import yaml

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import JudgeEndpoint, Recipe, dump_recipe
from megatron_sbp.recipe.sections import Launch, Slurm, Synthesizer
from megatron_sbp.report.judge_reading import agreement_sentence
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import count
from megatron_sbp.report.quality import GROUPS, sheet_rows
from megatron_sbp.report.seed_reading import seed_sentence

TAGS = ("synthetic-bootstrapped-pretraining", "megatron-sbp", "arxiv:2509.15248")

_CITATION = """## Citation

The method:

```bibtex
@article{yang2025synthetic,
  title   = {Synthetic bootstrapped pretraining},
  author  = {Yang and Zhang and Liu and Hashimoto and Cand{\\`e}s and Wang and Pang},
  journal = {arXiv preprint arXiv:2509.15248},
  year    = {2025}
}
```
"""

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
_MORE_SIZES = ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"), (1e12, "100B<n<1T"))


def public_recipe(recipe: Recipe) -> Recipe:
    """The recipe without what belongs to one machine or one site: folders, processes, Slurm."""

    def name(path: str) -> str:
        return PurePath(path).name if PurePath(path).is_absolute() or path.startswith("~") else path

    def named(path: str | None) -> str | None:
        return None if path is None else name(path)

    def flags(section: Mapping[str, JsonValue]) -> JsonObject:
        given = {key: name(value) if isinstance(value, str) else value for key, value in section["megatron"].items()}
        return {**section, "megatron": given}

    def overrides(about: Synthesizer) -> Synthesizer:
        tuning, synthesis, rules = dict(about.tuning), dict(about.synthesis), dict(about.filter)
        if "predicate" in rules:
            rules["predicate"] = named(rules["predicate"])
        if "start" in tuning:
            tuning["start"] = named(tuning["start"])
        if isinstance(synthesis.get("vllm"), dict) and "python" in synthesis["vllm"]:
            synthesis["vllm"] = {**synthesis["vllm"], "python": named(synthesis["vllm"]["python"])}
        return about.model_copy(update={"tuning": tuning, "synthesis": synthesis, "filter": rules})

    vllm = recipe.synthesis.vllm.model_copy(update={"python": named(recipe.synthesis.vllm.python)})
    pooling = recipe.embedding.vllm.model_copy(update={"python": named(recipe.embedding.vllm.python)})
    documents = recipe.documents.model_copy(update={"inputs": [name(path) for path in recipe.documents.inputs]})
    evaluation = recipe.evaluation.model_copy(
        update={
            "questions": named(recipe.evaluation.questions),
            "judge": named(recipe.evaluation.judge),
            "judge_endpoint": JudgeEndpoint.model_validate({}),
            "harness": recipe.evaluation.harness.model_copy(
                update={key: named(getattr(recipe.evaluation.harness, key)) for key in ("task_folder", "python")}
            ),
        }
    )
    changed = {
        "documents": documents,
        "evaluation": evaluation,
        "tokenizer": recipe.tokenizer.model_copy(update={"path": named(recipe.tokenizer.path)}),
        "filter": recipe.filter.model_copy(update={"predicate": named(recipe.filter.predicate)}),
        "tuning": recipe.tuning.model_copy(update={"start": named(recipe.tuning.start)}),
        "synthesis": recipe.synthesis.model_copy(update={"vllm": vllm}),
        "synthesizers": {writer: overrides(about) for writer, about in recipe.synthesizers.items()},
        "embedding": recipe.embedding.model_copy(update={"model": name(recipe.embedding.model), "vllm": pooling}),
        "launch": Launch.model_validate({}),
        "slurm": Slurm.model_validate({}),
        "training": recipe.training.model_copy(update=flags({"megatron": recipe.training.megatron})),
        "arms": {
            arm: about.model_copy(update={"training": flags(about.training)}) if "megatron" in about.training else about
            for arm, about in recipe.arms.items()
        },
        "run_folder": None,
    }
    return recipe.model_copy(update=changed)


def license_header(name: str | None) -> dict[str, str]:
    """The header's fields for `documents.license`: one of the hub's identifiers, or another license by its name."""
    if not name:
        return {"license": "unknown"}
    if re.fullmatch(r"[a-z][a-z0-9.-]*", name):
        return {"license": name}
    return {"license": "other", "license_name": name}


def dataset_card(
    recipe: Recipe,
    documents: Mapping[str, int],
    audits: Mapping[str, Mapping[str, JsonValue]],
    quality: Mapping[str, Mapping[str, JsonValue] | None],
) -> str:
    """The card of a synthetic corpus.

    Args:
        recipe: of the run.
        documents: number of documents by configuration (synthesizer, and replicate where there are several).
        audits: synthetic/audit.json of each.
        quality: evaluation/quality.json of each, or None.
    """
    total = sum(documents.values())
    size = next((name for limit, name in (*_SIZES, *_MORE_SIZES) if total < limit), "n>1T")
    first = next(iter(documents))
    configs = [
        {"config_name": name, "data_files": f"data/{name}/*.parquet", **({"default": True} if name == first else {})}
        for name in documents
    ]
    header = {
        **license_header(recipe.documents.license),
        "pretty_name": f"{recipe.name}: synthetic documents",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", *TAGS],
        "size_categories": [size],
        "configs": configs,
    }
    parts = [
        f"# {recipe.name}: synthetic documents",
        "Synthetic text of a run of Synthetic Bootstrapped Pretraining "
        "([arXiv 2509.15248](https://arxiv.org/abs/2509.15248)): a synthesizer is tuned on pairs of related documents, "
        "and writes a new document for a given one. **None of this is fact**: the text is what looked plausible to a "
        "model, and was not checked by anyone.",
        _table(
            ["configuration", "written by", "documents", "tokens", "raw generations"],
            [
                [f"`{name}`", _writer(recipe, name), count(number)]
                + [count(audits[name].get(key)) for key in ("tokens", "generations")]
                for name, number in documents.items()
            ],
        ),
        "Columns: `id`, `text`, `tokens` (end-of-document included), `finished`, and the parents: "
        "`seed_id` and `seed_row` (the document of the source corpus it was written for), `generation` (how many texts "
        "were written for it before), `synthesizer` (SHA-256 of the weights), `round`, `pairs_file` (the pairs that "
        "the synthesizer was tuned on, below the run folder) and `pairs` (its SHA-256), `temperature`, `top_p`, "
        "`max_new_tokens`, `engine`, `precision`, `replaced` (share of tokens replaced at random, for that control), "
        "`run_seed`. The seed documents themselves are not included.",
        "## Filters",
        _dropped(audits),
        "## Quality",
        *(_quality(name, quality.get(name)) for name in documents),
        _limits(recipe, "documents"),
        _source(recipe),
        _recipe(recipe),
        _CITATION,
    ]
    return _card(header, parts)


def model_card(
    recipe: Recipe,
    model: str,
    provenance: Mapping[str, JsonValue],
    results: Mapping[str, JsonValue] | None,
    replicate: int,
) -> str:
    """The card of an exported model.

    Args:
        recipe: of the run.
        model: an arm, or `synthesizer-NAME`.
        provenance: the export's provenance.json.
        results: results.json, or None before the report.
        replicate: of which replicate, from 1.
    """
    synthesizer = model.removeprefix("synthesizer-") if model.startswith("synthesizer-") else None
    header = {
        **license_header(recipe.documents.license),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(TAGS),
    }
    what = _synthesizer(recipe, synthesizer) if synthesizer else _arm(recipe, model)
    parts = [
        f"# {recipe.name}: {model}" + (f", replicate {replicate}" if recipe.replicates > 1 else ""),
        what,
        _table(
            ["", ""],
            [
                ["architecture", str(provenance.get("architecture"))],
                ["parameters", count(provenance.get("parameters"))],
                ["context (tokens)", count(recipe.model.sequence_length)],
                ["weights", str(provenance.get("dtype"))],
                ["optimizer steps", count(provenance.get("iteration"))],
                ["SHA-256 of the weights", f"`{provenance.get('weights_sha256')}`"],
            ],
        ),
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\ntokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        "```",
        "## Figures",
        _reading(results, synthesizer) if synthesizer else _figures(results, model, replicate),
        _limits(recipe, "model"),
        _source(recipe),
        _recipe(recipe),
        _CITATION,
    ]
    return _card(header, parts)


def _card(header: Mapping[str, JsonValue], parts: Sequence[str]) -> str:
    top = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{top}---\n\n" + "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _arm(recipe: Recipe, name: str) -> str:
    arm = recipe.arms[name]
    real = "the source corpus D" if arm.documents == "train" else "D and further documents of the source corpus"
    read = f"{real}, repeated until the budget was spent"
    if arm.synthetic:
        read = f"synthetic documents of the synthesizer `{arm.synthetic}`, each once, and {real} for the rest"
    return (
        f"The arm `{name}` of a run of Synthetic Bootstrapped Pretraining "
        "([arXiv 2509.15248](https://arxiv.org/abs/2509.15248)), trained from scratch with NVIDIA Megatron on "
        f"{read}. All arms of the run were trained on the same number of tokens."
    )


def _synthesizer(recipe: Recipe, name: str) -> str:
    separator = recipe.tokenizer.separator
    if recipe.synthesizers[name].method == "samples":
        return (
            f"The synthesizer `{name}`, a control: the baseline, which writes documents without a seed document after "
            "end-of-document."
        )
    return (
        f"The synthesizer `{name}` of a run of Synthetic Bootstrapped Pretraining "
        "([arXiv 2509.15248](https://arxiv.org/abs/2509.15248)), tuned on pairs of documents "
        f"({recipe.for_synthesizer(name).pairs.relation}). Its prompt is a seed document of at most "
        f"{recipe.for_synthesizer(name).max_seed_tokens:,} tokens (no special tokens) and the token `{separator}`; "
        "what follows, up to end-of-document, is a related document."
    )


def _writer(recipe: Recipe, configuration: str) -> str:
    """How the text of a configuration (a synthesizer, then a dash and the replicate) was made."""
    name = configuration.partition("-")[0]
    about = recipe.synthesizers[name]
    if about.method == "samples":
        return "the baseline, without a seed document (a control)"
    if about.method == "replacement":
        return f"chance: seed documents with {100 * about.replaced:g} % of their tokens replaced (a control)"
    relation = recipe.for_synthesizer(name).pairs.relation
    told = {"similar": "similar documents", "random": "random documents (a control)"}
    told["shuffled"] = "documents that are not related, with the targets of similar ones (a control)"
    return f"a synthesizer tuned on pairs of {told.get(relation, relation.replace('_', ' '))}"


def _dropped(audits: Mapping[str, Mapping[str, JsonValue]]) -> str:
    """What each rule dropped, by configuration."""
    rules = dict.fromkeys(rule for audit in audits.values() for rule in audit.get("dropped") or {})
    rows = [
        [rule.replace("_", " "), *(count((audit.get("dropped") or {}).get(rule)) for audit in audits.values())]
        for rule in rules
    ]
    return _table(["generations dropped by rule", *(f"`{name}`" for name in audits)], rows)


def _quality(name: str, quality: Mapping[str, JsonValue] | None) -> str:
    if quality is None:
        return f"`{name}`: not measured."
    told = " ".join(filter(None, (seed_sentence(quality["similarity"]), agreement_sentence(quality.get("judge")))))
    shown = _table(["", *(label for _, label, _ in GROUPS)], sheet_rows(dict(quality)))
    return f"`{name}`, in brackets the 95 % interval. {told}\n\n{shown}"


def _figures(results: Mapping[str, JsonValue] | None, arm: str, replicate: int) -> str:
    found = ((results or {}).get("arms") or {}).get(arm)
    if not found or found["test_loss"] is None:
        return "Not evaluated yet."
    own = found["replicates"][replicate - 1] if replicate > 1 else found
    rows = [["training tokens", count(found["train_tokens"])]]
    rows.append(["epochs of its real documents", f"{found['real_epochs']:.2f}" if found["real_epochs"] else "–"])
    rows.append(["synthetic tokens", count(found["synthetic_tokens"])])
    rows.append(["test loss (nats per token)", _around(own["test_loss"], own.get("test_loss_stderr"), "{:.4f}", 1)])
    rows.append(
        ["test bits per byte", _around(own["test_bits_per_byte"], own.get("test_bits_per_byte_stderr"), "{:.4f}", 1)]
    )
    for key, label in (("choice", "continuation picked among four"), ("recall", "closed-book recall")):
        value = own.get("recall" if key == "recall" else "choice_accuracy")
        if value is not None:
            rows.append([f"{label} (percent)", _around(value, own.get(f"{key}_stderr"), "{:.1f}", 100)])
    told = "In brackets the 95 % interval over test sequences or questions."
    return f"{told}\n\n{_table(['', ''], rows)}\n\n{_comparisons(results or {}, arm)}"


def _around(value: float, stderr: float | None, shape: str, scale: float) -> str:
    shown = _shown(shape, scale * value)
    if stderr is None:
        return shown
    ends = (_shown(shape, scale * (value + sign * 1.96 * stderr)) for sign in (-1, 1))
    return f"{shown} [{', '.join(ends)}]"


def _shown(shape: str, value: float) -> str:
    """The value in that format, without a minus sign if it rounds to zero."""
    text = shape.format(value)
    return text if float(text) else shape.format(0.0)


def _comparisons(results: Mapping[str, JsonValue], arm: str) -> str:
    rows = []
    for key, figures in (results.get("comparisons") or {}).items():
        first, _, second = key.partition("-")
        loss = figures.get("test_loss")
        if first == arm and loss and loss.get("low") is not None:
            gain, low, high = (_shown("{:+.4f}", loss[name]) for name in ("difference", "low", "high"))
            rows.append([label_of(second), f"{gain} [{low}, {high}]"])
    if not rows:
        return ""
    return "Gain in test loss over the other arms (nats per token; above zero is better):\n\n" + _table(
        ["over", "gain"], rows
    )


def _reading(results: Mapping[str, JsonValue] | None, name: str) -> str:
    """What the synthesizer reads from its seed. results.json has the first synthesizer at its top."""
    others = (results or {}).get("synthesizers") or {}
    tuning = others.get(name, results or {}).get("tuning") or {}
    found = tuning.get("reading") or {}
    if found.get("gain") is None:
        return "Not evaluated."
    return _table(
        ["on pairs of unseen documents", "nats per target token"],
        [
            ["loss with the true seed document", f"{found['loss_true_seed']:.4f}"],
            ["loss with a wrong one", f"{found['loss_wrong_seed']:.4f}"],
            ["gain from the seed", _around(found["gain"], found["gain_stderr"], "{:.4f}", 1)],
        ],
    )


def _limits(recipe: Recipe, what: str) -> str:
    lines = [
        "Text that a model wrote from a corpus carries that corpus's errors and biases, and may repeat parts of it "
        "word for word: the quality figures say how much."
        if what == "documents"
        else "A base model for research: it continues text, is not aligned with anyone's intentions, and may repeat "
        "its training documents word for word.",
        f"Source: {count(recipe.documents.train)} unique documents. Nothing else went into it.",
    ]
    if recipe.replicates == 1:
        lines.append("One training seed: the intervals cover only the noise of the test set.")
    if recipe.note:
        lines.append(f"From the recipe: {' '.join(recipe.note.split())}")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _source(recipe: Recipe) -> str:
    told = "The recipe does not name one (`documents.license`). Find out before you share this."
    if recipe.documents.license:
        told = (
            f"{recipe.documents.license}. What follows from it for text and weights made from these documents is not "
        )
        told += "decided here."
    return f"## License of the source\n\n{told}"


def _recipe(recipe: Recipe) -> str:
    public = public_recipe(recipe)
    text = dump_recipe(public)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # a note may have code in it
    return (
        f"## Recipe\n\nMade by megatron-sbp {__version__}; digest of the recipe `{files.digest(public.to_dict())}`, "
        f"seed {recipe.seed}.\n\n<details><summary>The whole recipe</summary>\n\n{fence}yaml\n{text}{fence}\n\n"
        "</details>"
    )
