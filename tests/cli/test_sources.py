"""What help reads from the sources is what the imported classes say: names, options, defaults, a sentence for each."""

import inspect
from importlib import import_module

import click
import pytest

from advkit.attacks import ATTACKS
from advkit.cli import _sources
from advkit.cli._derived import parameters, said
from advkit.cli._group import COMMANDS, main
from advkit.data import DATASETS
from advkit.defenses import list_defenses, list_transforms
from advkit.models import list_models
from advkit.training import RECIPES, Recipe

LISTS = {
    "attack": ATTACKS.names,
    "data set": DATASETS.names,
    "defense": list_defenses,
    "model": list_models,
    "transform": list_transforms,
}


@pytest.mark.parametrize("kind", _sources.FAMILIES)
def test_the_names_in_the_sources_are_the_registered_ones(kind):
    known, registered = set(_sources.names(kind)), set(LISTS[kind]())
    assert known <= registered, "import the file in the __init__ of its package"
    elsewhere = {name for name in registered - known if name.startswith("example_")}  # tests register them
    assert registered - known == elsewhere, "write the name as a literal in the decorator"


@pytest.mark.parametrize("name", _sources.names("attack"))
def test_the_options_in_the_sources_are_those_of_the_signature(name):
    same(parameters(ATTACKS.factory(name)), _sources.fields("attack", name))


def test_the_options_of_a_recipe_are_those_of_the_signature():
    same(parameters(Recipe), _sources.fields_of("advkit.training._recipe", "Recipe"))


def same(signature, fields):
    assert list(signature) == list(fields)
    for name, field in fields.items():
        default = signature[name].default
        if type(default).__repr__ is not object.__repr__ and "factory" not in said(signature[name]):
            assert field.default.split(".")[-1] == said(signature[name]).split(".")[-1], name
        assert len(field.sentence.split()) >= 2, f"{name} has no sentence: write its line under Args"


def test_a_default_is_read_as_people_read_it():
    assert _sources.fields("attack", "pgd")["step_size"].default == "none"
    assert _sources.fields("attack", "pgd")["random_start"].default == "yes"
    assert _sources.fields("attack", "pgd")["steps"] == _sources.Field(
        "steps", frozenset({"int"}), "40", _sources.fields("attack", "bim")["steps"].sentence
    )


def commands(group: click.Group = main, before: str = "") -> dict[str, click.Command]:
    """Every command by its whole name, those of groups too."""
    found: dict[str, click.Command] = {}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found[f"{before}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{before}{name} ")
    return found


@pytest.mark.parametrize("name", commands())
def test_every_option_of_every_command_has_a_sentence(name):
    command = commands()[name]
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Option):
            words = (parameter.help or "").partition("[")[0]
            assert words[:1].isalnum() or words[:1] in "\"'(.`", f"{name} {parameter.opts[0]}: {parameter.help!r}"
            assert len(words.split()) >= 2, f"{name} {parameter.opts[0]}: {parameter.help!r}"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"visualize"}))
def test_what_a_command_does_takes_its_options(name):
    command = commands()[name]
    takes = inspect.signature(import_module(f"advkit.cli.{name}").run).parameters
    given = {parameter.name for parameter in command.params}
    rest = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    assert {p.name for p in takes.values() if p.kind is not p.VAR_KEYWORD} <= given
    assert rest or given <= set(takes)


def test_recipes_are_for_registered_networks():
    assert {recipe.model for recipe in RECIPES.values()} <= set(_sources.names("model"))
