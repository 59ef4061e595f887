"""Argument lists for every command of `advkit --help`, made from the declarations of the commands themselves."""

import random
from collections.abc import Iterator
from pathlib import Path

import click

from advkit.cli import main
from advkit.cli._options import Eps, Name
from advkit.cli._sources import fields, names

SLOW = {"autoattack", "cascade", "universal", "patch", "lavan", "fooling", "hopskipjump", "boundary", "fab"}
"""Attacks of thousands of passes."""

ODD = ["", " ", "x", "-1", "0", "nan", "inf", "1e400", "1/0", "\x1b[2J", "\u202e", "é网\udcff", "(", "pgd(eps=",
       "a=b", "pgd(eps=-1)", "/nowhere", "[1,2]", "{}", "none", "True", "a:" * 3000, "-", "'", "*", "~"]  # fmt: skip
"""What no option is meant to be given."""

WORDS = {
    "attacks": ["fgsm", "none"],
    "attack": ["fgsm"],
    "augment": ["none", "mirror", "mirror + shift(size=2)"],
    "specs": ["mirror", "patch(size=28) + mirror"],
    "certify": ["ibp", "crown(eps=.1)"],
    "corrupted": ["mnist_c", "cifar10_c"],
    "defense": ["fgsm(eps=0.1)", "trades(eps=0.1)"],
    "expected": ["x"],
    "goal": ["top_k(k=2)", "confident(lead=1)", "one_logit", "segmentation"],
    "input_shape": ["1,32,32", "3,8,8"],
    "layer": ["c1", "features"],
    "names": ["c1", "net.c3"],
    "norm": ["linf", "l2", "l1"],
    "optimizer": ["sgd", "adamw"],
    "palette": ["inks"],
    "pattern": ["*", "mlp", "f*"],
    "place": ["centre", "random"],
    "places": ["centre", "random"],
    "shape": ["square", "circle"],
    "schedule": ["cosine", "constant"],
    "scales": ["32", "32,40"],
    "shard": ["1/2", "3/16"],
    "split": ["test", "train"],
    "target": ["3", "runner_up", "random", "all"],
    "watch": ["clean", "fgsm(eps=.1)"],
    "width": ["1/4", "0.5"],
}
"""Words that options of free text are meant to be given, by the name of the option."""


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield (*path, name), command


def fitting(parameter: click.Parameter, home: Path, dice: random.Random) -> str:
    """A value of the type that the parameter declares."""
    kind, name = parameter.type, str(parameter.name)
    if isinstance(kind, click.Choice):
        return str(dice.choice(list(kind.choices)))
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = kind.min if kind.min is not None else 0
        return str(
            dice.choice([low, low + 1, low + 2, kind.max if kind.max is not None and kind.max < 25 else low + 3])
        )
    if isinstance(kind, Eps):
        return dice.choice(["0.1", "8/255", "0", "1", "300"])
    if isinstance(kind, click.Path):
        return dice.choice(["out", "out/new.png", "out/new.html", "nowhere/x.png", str(home / "images.npz"), "."])
    if name in WORDS:
        return dice.choice(WORDS[name])
    if isinstance(kind, Name):
        return _named(dice.choice(kind.kinds), home, dice)
    if name in ("weights", "model", "run", "runs", "first", "second", "beside"):
        return str(home / dice.choice(["run", "shard", "card.json", "weights.safetensors", "images.npz", "none"]))
    if name in ("classes", "data_root"):
        return str(home / dice.choice(["classes.txt", "images.npz", "none", "run"]))
    return dice.choice(["1", "2", "0.1", "yes", "fgsm"])


def _named(kind: str, home: Path, dice: random.Random) -> str:
    if kind == "data set":
        return dice.choice(["mnist5k", str(home / "images.npz"), f"folder:{home}", dice.choice(names(kind))])
    if kind == "attack":
        name = dice.choice([name for name in names(kind) if name not in SLOW])
        return f"{name}(steps=2)" if "steps" in fields(kind, name) else name
    if kind == "model":
        return dice.choice(
            ["lenet5", "mlp", "stn_cnn", "nin", "torchvision:nothing", str(home / "weights.safetensors")]
        )
    return dice.choice(names(kind))


def argument_list(path: tuple[str, ...], command: click.Command, cheap: list[str], home: Path,
                  dice: random.Random) -> list[str]:  # fmt: skip
    """A command with what makes it cheap, and some of its options with values that fit or do not.

    Args:
        path: words that call the command.
        command: the command.
        cheap: arguments with which the command ends soon.
        home: folder with files to name.
        dice: source of chance.
    """
    with click.Context(command) as context:
        declared = [p for p in command.get_params(context) if p.name not in ("download", "compile", "threads")]
    words = list(cheap)
    if dice.random() < 0.15 and words:
        del words[dice.randrange(len(words))]
    for parameter in dice.choices(declared, k=dice.randrange(4)):
        value = dice.choice(ODD) if dice.random() < 0.4 else fitting(parameter, home, dice)
        if isinstance(parameter, click.Argument):
            words.append(value)
        elif getattr(parameter, "is_flag", False):
            words.append(dice.choice([*parameter.opts, *parameter.secondary_opts]))
        else:
            words += [dice.choice(parameter.opts), value][: 1 if dice.random() < 0.03 else 2]
    return [*path, *words]
