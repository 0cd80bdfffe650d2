"""The card of an exported model."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.publishing.card_parts import TAGS, card, license_header, table
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import count


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
        table(
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
    ]
    return card(header, parts, recipe, "model")


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
    return f"{told}\n\n{table(['', ''], rows)}\n\n{_comparisons(results or {}, arm)}"


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
    return "Gain in test loss over the other arms (nats per token; above zero is better):\n\n" + table(
        ["over", "gain"], rows
    )


def _reading(results: Mapping[str, JsonValue] | None, name: str) -> str:
    """What the synthesizer reads from its seed. results.json has the first synthesizer at its top."""
    others = (results or {}).get("synthesizers") or {}
    tuning = others.get(name, results or {}).get("tuning") or {}
    found = tuning.get("reading") or {}
    if found.get("gain") is None:
        return "Not evaluated."
    return table(
        ["on pairs of unseen documents", "nats per target token"],
        [
            ["loss with the true seed document", f"{found['loss_true_seed']:.4f}"],
            ["loss with a wrong one", f"{found['loss_wrong_seed']:.4f}"],
            ["gain from the seed", _around(found["gain"], found["gain_stderr"], "{:.4f}", 1)],
        ],
    )
