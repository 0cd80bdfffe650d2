#!/usr/bin/env python3
"""Measures how well the judge of a recipe agrees with known answers: accuracy and Cohen's kappa, with 95 % intervals.

    python tools/judge_agreement.py --recipe RECIPE.yaml [evaluation.judge_endpoint.model=NAME ...] \\
        [--cases FILE.jsonl] [--answers FILE.jsonl]

asks the function or the endpoint that the recipe names (evaluation.judge, evaluation.judge_endpoint) about every case
(without --cases, about those that are shipped), and prints JSON: the judge, and for `factual` and `relevant` its
answers by truth, accuracy, kappa, and how many cases it left open. With --answers an endpoint's answers are kept in
that file, and a second call asks nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base import command_line, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe


def main() -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="names the judge")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys of the recipe")
    parser.add_argument("--cases", type=Path, metavar="FILE.jsonl", help="lines with id, seed, text, factual, relevant")
    parser.add_argument("--answers", type=Path, metavar="FILE.jsonl", help="file that keeps the answers of an endpoint")
    options = parser.parse_intermixed_args()
    from megatron_sbp.evaluation.agreement import SHIPPED, agreement, read_known
    from megatron_sbp.evaluation.judge import load_judge

    with command_line.errors_reported(options):
        cases = options.cases or SHIPPED
        if options.answers:
            outputs.check_file(options.answers, [options.recipe, cases])
        judge = load_judge(load_recipe(options.recipe, options.overrides), options.answers)
        if judge is None:
            message = "names no judge: neither evaluation.judge nor evaluation.judge_endpoint"
            raise InputError(message, file=options.recipe)
        known = read_known(cases)
        result = {"cases": len(known), **agreement(judge, known)}
        print(json.dumps({"judge": judge.about(), **result}, indent=2))


if __name__ == "__main__":
    main()
