"""The identity of a run: its configuration, which resuming compares, and the machine and versions that made it."""

import hashlib
import platform
import shlex
import sys
from dataclasses import asdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from advkit._version import __version__
from advkit.core.classify import classify
from advkit.core.contents import digests_of, is_left_out, tensor_bytes
from advkit.core.errors import InputError
from advkit.core.guard import Model, modules_of
from advkit.core.layout import Passes
from advkit.core.own_code import code_digests
from advkit.data._stream import Batch, origin, total
from advkit.evaluation.measure.plan import Plan
from advkit.evaluation.measure.setting import model_name
from advkit.evaluation.runs.digests import digest


def configuration(
    model: Model,
    data: Any,
    plan: Plan,
    first: Batch,
    *,
    batch_size: int,
    count: int | None,
    images: bool,
    png: bool,
    shard: str | None,
) -> dict[str, Any]:
    """Return everything that determines the rows of a run, as JSON; `first` is the first batch of the data."""
    own = data.batch_size if isinstance(data, DataLoader) else batch_size
    return {
        "model": {"name": model_name(model), "digest": model_digest(model), **_beside(model)},
        "attacks": [attack.spec for attack in plan.attacks],
        "control": None if plan.control is None else plan.control.spec,
        "certify": None if plan.certificate is None else asdict(plan.certificate),
        "target": digest(plan.target) if isinstance(plan.target, Tensor) else plan.target,
        "seed": plan.options["seed"],
        "bounds": list(plan.options["bounds"]),
        "stop": plan.options["stop"],
        **_asked(plan),
        "count": count,
        "batch_size": own,
        "data": {"name": origin(data), "images": total(data, count), "digest": digest(first.x, first.y)},
        "images": images,
        "png": png,
        "shard": shard,
    }


NO_HOOKS = {"hooks": None, "attributes": None}
"""What is beside the digest and the code of a model that is a plain function."""


def _beside(model: Model) -> dict[str, Any]:
    beside = digests_of(model) if isinstance(model, nn.Module) else dict(NO_HOOKS)
    return {**beside, "code": code_digests(model)}


def forgiven(model: Model, x: Tensor, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new configuration, with those parts of the old one that passes of the model change anyway.

    A network that keeps its last features says by them which image it saw last, not what it answers. The parts are the
    attributes, and the code with the globals that it names.

    Args:
        model: the model.
        x: images (N, ...); where a part differs, the first one is asked about, and zeros.
        old: the configuration of the run that is continued.
        new: the configuration now.
    """
    was, now = old.get("model") or {}, new["model"]
    parts = [part for part in PARTS if isinstance(was.get(part), dict) and was[part] != now[part] and now[part]]
    if not parts:
        return new
    seen = [now]
    for image in (x[:1], torch.zeros_like(x[:1])):
        classify(model, image)
        seen.append(_beside(model))
    return {**new, "model": {**now, **{part: _still(was[part], [found[part] for found in seen]) for part in parts}}}


PARTS = ("attributes", "code")
"""What is recorded of a model by name."""


def _still(was: dict[str, Any], seen: list[dict[str, Any]]) -> dict[str, Any]:
    """What was seen first; the names under which passes changed it are those of before."""
    names = {name for found in (was, *seen) for name in found}
    moved = {name for name in names if len({found.get(name) for found in seen}) > 1}
    kept = {name: value for name, value in seen[0].items() if name not in moved}
    return kept | {name: value for name, value in was.items() if name in moved}


def _asked(plan: Plan) -> dict[str, Any]:
    """The goal and the number of verdicts, where they are not the usual ones."""
    goal = {"goal": plan.goal, "labelled": plan.judge.labelled} if plan.goal else {"goal": None}
    return {**goal, "verdicts": plan.verdicts} if plan.verdicts > 1 else {**goal, "verdicts": None}


def environment(model: Model, first: Batch) -> dict[str, Any]:
    """Return versions, hardware, threads and layout; only if they are equal are the rows promised to be equal."""
    device = first.x.device
    return {
        "advkit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "dtype": str(first.x.dtype).removeprefix("torch."),
        "layout": "channels_last" if Passes(model, first.x).probe(first.x) else "contiguous",
    }


BINDING = ("advkit", "torch", "device", "threads", "dtype", "layout")
"""The parts of the environment that change the rows."""


def processor() -> str:
    """Return the name of the CPU."""
    try:
        with open("/proc/cpuinfo") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def check_same(home: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise InputError at the first difference between two configurations (or the binding parts of environments).

    A run whose model has no entries for hooks, attributes and code is of a model without hooks; the others pass.
    """
    for key, value in new.items():
        had = {**value, "hooks": None, **old["model"]} if key == "model" and old.get("model") else old.get(key)
        if had != value:
            was, now = _told(had, value)
            raise InputError(
                f"cannot go on with the run in {home}: its {key} is {was}, now {key} is {now}; "
                "go on with what it began with, or give another folder"
            )


def _told(old: Any, new: Any) -> tuple[Any, Any]:
    """Of two records the parts that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        told = {key: _told(old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}
        return {key: was for key, (was, _) in told.items()}, {key: now for key, (_, now) in told.items()}
    return old, new


def model_digest(model: Model) -> str | None:
    """Hash all parameters, buffers, modules' classes and plain settings; None for a plain function."""
    modules = modules_of(model)
    if not modules:
        return None
    made = hashlib.sha256()
    for module in modules:
        made.update(f"{type(module).__qualname__} {_settings(module)}".encode())
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                made.update(tensor_bytes(tensor))
    return made.hexdigest()[:16]


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    """The attributes that are numbers, words or tuples of them, such as a stride; not the mode and the counters."""

    def plain(value: Any) -> bool:
        return isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and all(map(plain, value)))

    return sorted(
        (k, v) for k, v in vars(module).items() if plain(v) and k != "training" and not is_left_out(module, k)
    )


def command_line() -> list[str]:
    """Return the command line of this process as it is typed: no folder of the program, a script as seen from here.

    A notebook's is "jupyter notebook": the arguments of its kernel say nothing that can be repeated.
    """
    program = _program(sys.argv[0], getattr(sys.modules.get("__main__"), "__spec__", None))
    return ["jupyter", "notebook"] if program[-1] == "ipykernel_launcher" else [*program, *sys.argv[1:]]


def typed(command: str) -> str:
    """Return a recorded command as it is typed anywhere; runs of older versions carry the folder of the program.

    Args:
        command: the words as one line of shell.
    """
    first, *rest = shlex.split(command)
    return shlex.join([*_program(first, None), *rest])


def _program(first: str, spec: ModuleSpec | None) -> list[str]:
    """The words that start the program whose file is `first`; `spec` is there where `python -m` found it."""
    module = "" if spec is None else spec.name.removesuffix(".__main__")
    path = Path(first)
    name = path.stem if path.suffix.lower() == ".exe" else path.name  # of Windows
    if "advkit" in (module, name) or (path.parent.name, name) == ("advkit", "__main__.py"):
        return ["advkit"]
    if module:
        return ["python", "-m", module]
    if first == "-c":
        return ["python", "-c"]
    if path.suffix != ".py":
        return [name or "python"]
    here = Path.cwd()
    below = path.relative_to(here) if path.is_relative_to(here) else path
    return ["python", path.name if below.is_absolute() else str(below)]
