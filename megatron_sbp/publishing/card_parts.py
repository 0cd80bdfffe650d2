"""What dataset and model cards have in common: README.md with a YAML header, as the Hugging Face hub reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import yaml

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.publishing.public_recipe import public_recipe
from megatron_sbp.recipe import Recipe, dump_recipe
from megatron_sbp.report.numbers import count

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


def license_header(name: str | None) -> dict[str, str]:
    """The header's fields for `documents.license`: one of the hub's identifiers, or another license by its name."""
    if not name:
        return {"license": "unknown"}
    if re.fullmatch(r"[a-z][a-z0-9.-]*", name):
        return {"license": name}
    return {"license": "other", "license_name": name}


def card(header: Mapping[str, JsonValue], parts: Sequence[str], recipe: Recipe, what: str) -> str:
    """A card, ended by what all have in common.

    Args:
        header: of the hub.
        parts: in Markdown.
        recipe: of the run.
        what: `documents` or `model`.
    """
    parts = [*parts, _limits(recipe, what), _source_license(recipe), _recipe_section(recipe), _CITATION]
    top = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{top}---\n\n" + "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


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


def _source_license(recipe: Recipe) -> str:
    told = "The recipe does not name one (`documents.license`). Find out before you share this."
    if recipe.documents.license:
        told = (
            f"{recipe.documents.license}. What follows from it for text and weights made from these documents is not "
        )
        told += "decided here."
    return f"## License of the source\n\n{told}"


def _recipe_section(recipe: Recipe) -> str:
    public = public_recipe(recipe)
    text = dump_recipe(public)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # a note may have code in it
    return (
        f"## Recipe\n\nMade by megatron-sbp {__version__}; digest of the recipe `{files.digest(public.to_dict())}`, "
        f"seed {recipe.seed}.\n\n<details><summary>The whole recipe</summary>\n\n{fence}yaml\n{text}{fence}\n\n"
        "</details>"
    )
