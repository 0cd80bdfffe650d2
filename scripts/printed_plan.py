#!/usr/bin/env python3
"""Writes docs/printed_plan.md: what `sbp plan` prints of the paper's 3B model at 1T tokens.

python scripts/printed_plan.py            # write it
python scripts/printed_plan.py --check    # exit status 1 if it is out of date; a test runs this
"""

from __future__ import annotations

from pathlib import Path

from generated_page import write_or_check

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "printed_plan.md"
NAME = "sbp_3b_1t"

PAGE = f"""# The printed plan of {NAME}

What `sbp plan examples/{NAME}/recipe.yaml` prints before there is a corpus: the paper's 3B model at 1T tokens.
Warnings about the machine on which it runs (a model that is not in its cache, a disk that is too small) are left out.
Written by `python scripts/printed_plan.py`; a test checks it. What the lines mean: [plan.md](plan.md).

```
{{plan}}
```
"""


def main() -> int:
    return write_or_check(__doc__, TARGET, page())


def page() -> str:
    """The text of docs/printed_plan.md."""
    return PAGE.format(plan=format_plan(make_plan(load_recipe(REPOSITORY / "examples" / NAME / "recipe.yaml"))).strip())


if __name__ == "__main__":
    raise SystemExit(main())
