"""What `sbp` can be told: overrides anywhere behind the recipe, options by name, help that can be followed."""

from __future__ import annotations

import argparse
import re

import pytest

from megatron_sbp.cli import arguments, main
from megatron_sbp.stages.graph import all_stages


@pytest.fixture
def parse():
    parser = arguments.make_parser(all_stages())
    return lambda text: arguments.parse(parser, text.split())


@pytest.mark.parametrize(
    "text",
    [
        "run R --until pairs seed=2 note=x",
        "run R seed=2 --until pairs note=x",
        "run R seed=2 note=x --until pairs",
        "run --until pairs R seed=2 note=x",
        "run R seed=2 --until=pairs note=x",
    ],
)
def test_overrides_around_an_option(parse, text):
    options = parse(text)
    assert (options.recipe, options.overrides, options.until) == ("R", ["seed=2", "note=x"], "pairs")


def test_other_verbs(parse):
    assert parse("plan R --json seed=2 --commands note=x").overrides == ["seed=2", "note=x"]
    options = parse("embed R --shard 1/2 seed=2")
    assert options.overrides == ["seed=2"] and options.shard == (1, 2)


def test_a_doctor_needs_no_recipe(parse, capsys):
    assert parse("doctor").recipe is None and parse("doctor R --json seed=2").overrides == ["seed=2"]
    with pytest.raises(SystemExit):
        parse("doctor --timeout never")
    assert "'never' is not a number of seconds" in capsys.readouterr().err


def test_trace_asks_for_what_it_needs_alone(parse, capsys):
    assert parse("trace R syn-1-0").overrides == [] and parse("trace R syn-1-0 a=1 --json b=2").overrides == [
        "a=1",
        "b=2",
    ]
    with pytest.raises(SystemExit):
        parse("trace people")
    assert "the following arguments are required: ID\n" in capsys.readouterr().err
    for words in ("trace R seed=2 syn-1-0 a=1", "trace R seed=2 --json a=1 syn-1-0"):
        found = parse(words)
        assert (found.document, found.overrides) == ("syn-1-0", ["seed=2", "a=1"])
    for words, told in (("seed=2", "not 0 (seed=2)"), ("syn-1-0 syn-2-0", "not 2 (syn-1-0 syn-2-0)")):
        with pytest.raises(SystemExit):
            parse(f"trace R {words}")
        assert f"sbp trace RECIPE ID [key=value ...]: one ID is needed, {told}\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse("trace --help")
    told = capsys.readouterr().out
    assert arguments.EPILOG in told and arguments.TRACE in told and "recipe YAML file, or a run folder" in told


def test_unknown_options_are_named(parse, capsys):
    with pytest.raises(SystemExit) as left:
        parse("run R --untill pairs seed=2")
    assert left.value.code == 2 and "unrecognized arguments: --untill" in capsys.readouterr().err


def test_options_that_take_a_value():
    def options(parser):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    yield from options(verb)
            elif action.nargs is None:
                yield from action.option_strings

    assert set(options(arguments.make_parser(all_stages()))) == set(arguments.WITH_VALUE)


@pytest.mark.parametrize("verb", ["plan", "doctor", "embed", "train-sbp"])
def test_the_help_of_a_verb_says_how_to_call_it(capsys, verb):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and said.startswith(f"usage: sbp {verb} [-h]")
    assert arguments.EPILOG in said


def the_verbs(parser):
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices


def test_every_verb_says_in_the_imperative_what_it_does():
    for name, verb in the_verbs(arguments.make_parser(all_stages())).items():
        first = verb.description.split(maxsplit=1)[0]
        assert first[0].isupper() and not first.endswith("s"), (name, verb.description)
        assert verb.description.endswith((".", "schema.json")), (name, verb.description)


def test_only_the_help_of_the_plan_explains_d():
    parser = arguments.make_parser(all_stages())
    verbs = the_verbs(parser)
    assert {name for name, verb in verbs.items() if "D, in the plan, is" in verb.format_help()} == {"plan"}
    assert not [name for name, verb in verbs.items() if name != "plan" and re.search(r"\bD\b", verb.format_help())]
    assert not re.search(r"\bD\b", parser.format_help())


def test_the_help_lists_a_verb_once_and_says_where_the_docs_are():
    told = arguments.make_parser(all_stages()).format_help()
    assert len(re.findall(r"^  sbp report ", told, re.MULTILINE)) == 1
    assert "(docs/experiments.md in the repository)" in told


def test_no_help_names_a_module_or_d_before_saying_what_it_is():
    parser = arguments.make_parser(all_stages())
    for text in (parser.format_help(), *(verb.format_help() for verb in the_verbs(parser).values())):
        assert "_verbs" not in text
    for stage in all_stages():
        assert "D" not in stage.title.split(), stage.name
