"""`evaluate`: the error of a model, clean and under each attack, with a verdict for each sample."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core import door, model_checks
from advkit.core.attack import Attack
from advkit.core.devices import find_device
from advkit.core.errors import InputError, check_given, unknown, warn
from advkit.core.guard import Model
from advkit.core.knowledge import check_open, knowledge_of
from advkit.core.norms import get_norm
from advkit.core.progress_bar import Progress, shows_progress
from advkit.core.wishes import as_wish
from advkit.data._any_data import as_data
from advkit.data._stream import batches, how_many, origin, total
from advkit.evaluation import recorded
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.asked import asked_attacks, asked_control, radius_of
from advkit.evaluation.measure.belong import belonging
from advkit.evaluation.measure.certificates import asked_certificate
from advkit.evaluation.measure.checks import MOST, Checks, check_evaluation
from advkit.evaluation.measure.corruptions import SEVERITIES, CorruptionReport, corruption_errors, fitting
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.judge import Judge
from advkit.evaluation.measure.made_corruptions import NAME, asked_for, check_images, made_corruption_errors
from advkit.evaluation.measure.plan import Plan
from advkit.evaluation.measure.published_corruptions import SETS, published_corruption_errors
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.setting import setting_of
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.measure.ticker import Ticker
from advkit.evaluation.runs.keep import Keep
from advkit.models import load_model


@shows_progress("evaluate")
def evaluate(
    model: Model | str,
    data: Any,
    attacks: Sequence[Attack | str] | Attack | str = (),
    *,
    eps: float | str | None = None,
    control: Attack | str | None = "auto",
    target: int | str | Tensor | None = None,
    goal: Any = None,
    verdicts: int = 1,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    stop: str = "fooled",
    device: str | torch.device | None = None,
    progress: Progress | bool | None = None,
    checks: bool | None = None,
    surrogate: Model | None = None,
    corruptions: bool | str = False,
    certify: str | None = None,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    keep: Keep = Keep(),  # noqa: B008  (frozen)
) -> Report:
    """Measure a classifier's error on clean and on adversarial images.

    The model is used in eval mode and left as it was. The same data, seed and attack give the same adversarial
    images whatever the batch size, up to the float noise of the model.

    Without `output` the report holds some hundred bytes an image and attack. With `output` the evaluation is a run:
    each finished batch is committed to the folder (docs/run-format.md), memory holds one batch, the report reads the
    values of single images from the folder when they are needed, and `resume` continues a run that was stopped. In a
    process group of torch.distributed, the processes share the batches of one run; the rows are the same. The number
    of threads is that of the process that began the run.

    Args:
        model: an nn.Module or a function that takes images (N, C, H, W) in `bounds` and returns logits (N, K); or
            a name that `load_model` takes.
        data: a Dataset, a DataLoader, a pair (x, y) of tensors or arrays, or a name that `load_data` takes. A
            DataLoader keeps its own batches, and its order numbers the samples: give one that does not shuffle. Its
            batches may be dictionaries, or have more than two parts: images and labels are the first two. Lists of
            items or of batches are taken too, and with a count data sets and loaders without a length.
        attacks: attack objects, or specs such as "pgd(eps=8/255)". A budget attack without eps gets .1 (l2: 1, l1: 10).
            A sample that is wrong already counts as wrong under each attack, at distance 0.
        eps: radius of the budget attacks that have none of their own, a number or a text such as "8/255".
        control: an attack that is reported separately and is not part of the worst case. By default it is random noise
            in a run, as on the command line, and none otherwise. Its budget is that of the first attack; if that is a
            minimal attack, the distance that it needed on each sample.
        target: the class to reach, by its number or by its name in the data, one for all; or a tensor with one for each
            image of the data (by its number there); or a word that the attacks know, such as "runner_up".
        goal: what counts as an error and as an attack's success, see `advkit.goals`: a goal, its spec such as
            "top_k(k=5)", or a function `(outputs, y) -> (N,)` that is > 0 where the goal is reached. By default a
            class other than y. With another form of outputs, as of `segmentation`, y are rows of any shape.
        verdicts: number of separate forward passes that judge the clean and the adversarial images. For a random model
            the errors are means over these verdicts, with their spread; one verdict by default.
        batch_size: number of images in a batch; a DataLoader keeps its own.
        count: number of images to use, a fixed random choice (of a DataLoader, the first ones); default: all.
        seed: seed of the attacks' random numbers.
        bounds: the range of the pixels.
        stop: "fooled": a sample leaves an attack at its first adversarial point; "never": the attack continues to the
            strongest point.
        device: device to which the model, an nn.Module, is moved; default: where its parameters are.
        progress: called with (done, all), in images times passes (the clean one, each step of the attacks and of
            the control), after every step. An attack may end before its last step. all is None if the data do not know
            their length. True shows a bar, in a notebook too.
        checks: whether to look for signs that the figures are wrong (`check_evaluation`); default: only in a run.
        surrogate: another model, with which these checks compare.
        corruptions: whether to measure the errors under corruptions, for images in [0, 1]: True makes them
            (`corruption_errors`); "cifar10_c" or another published set reads them (`published_corruption_errors`);
            "hendrycks", "hendrycks(severities=3)" or kinds such as "fog:3" make the 15 published ones from the images
            (`made_corruption_errors`).
        certify: method to certify every image (docs/certification.md), such as "crown" in the norm and at the largest
            eps of the attacks, or at a ball of its own as in "ibp(eps=0.1, norm=linf)". The report then has the error
            from both sides: `report.certified_error` is the share of images that are not certified.
        output: folder of the run, which is created.
        resume: whether to continue the run in that folder; a complete run is returned, a missing run is started.
        keep: contents of the folder, and the share of the batches for this process.

    Returns:
        A Report; its adversarial errors are lower bounds.

    Raises:
        InputError: data, labels, attacks or model outputs do not fit, or the folder holds another run.
        BrokenCertificateError: an attack found a certified image wrong within the ball, so one of both is faulty.
        OSError: the disk is full; the run is intact.
    """
    batch_size, count = how_many(batch_size, count)
    options = {"seed": door.check_seed(seed), "bounds": door.check_bounds(bounds), "stop": stop}
    listed = asked_attacks(attacks, eps, data)
    control = asked_control(control, listed, run=output is not None)
    wish = None if goal is None else as_wish(goal)
    if wish is not None and hasattr(wish, "target"):  # a class to reach or to leave is the target of the call
        target, wish = wish.target if target is None else target, None
    verdicts = door.check_count("verdicts", verdicts)
    if wish is not None and certify is not None:
        raise InputError(f"certificates speak of the class alone, got the goal {wish.spec}: leave one of the two out")
    certificate = asked_certificate(certify, listed)
    plan = Plan(listed, control, target, options, Judge(wish), verdicts, certificate, record=output is not None)
    plan.check()
    check_given("keep", keep, Keep, "a Keep, such as Keep(images=False)")
    if output is None and (resume or keep != Keep()):
        raise InputError(f"{'resume' if resume else 'keep'}= belongs to a run: give its folder, output=")
    model = _moved(load_model(model) if isinstance(model, str) else model, device)
    data = as_data(data, batch_size=batch_size, count=count)
    data = belonging(model, data)
    plan = replace(plan, target=aim_at(target, data))
    _warn_if_trained_on(model, origin(data))
    length = total(data, count)
    if corruptions and options["bounds"] != (0, 1):
        raise InputError(f"expected images in [0, 1] for corruptions, got bounds {options['bounds']}")
    if not plan.judge.labelled and (corruptions or checks):
        raise InputError(f"expected a goal of classes for checks and corruptions, got {plan.goal}: leave them out")
    spoilt = _corrupted_passes(data, corruptions)
    if certificate is not None:
        check_open(model, "certificates and bounds")
    if (shown := knowledge_of(model)) != "gradients":
        if checks:
            remark = f"the checks follow gradients, and the model shows {shown} only: there are none"
            warn(remark)
        checks = False
    tick = Ticker(progress, None if length is None else length * (plan.passes + spoilt))

    def look(report: Report) -> Checks | None:
        wanted = (output is not None and plan.judge.labelled) if checks is None else checks
        return _checked(model, data, plan, surrogate, report) if wanted else None

    def spoil() -> CorruptionReport:
        part = tick.part()
        made = asked_for(corruptions) if isinstance(corruptions, str) else None
        if made is not None:
            return made_corruption_errors(
                model, data, **vars(made), batch_size=batch_size, count=count, seed=seed, progress=part
            )
        if isinstance(corruptions, str):
            return published_corruption_errors(
                model, corruptions, data, batch_size=batch_size, count=count, progress=part
            )
        return corruption_errors(model, data, batch_size=batch_size, count=count, seed=seed, progress=part)

    if output is None:
        report = _in_memory(model, data, plan, tick, batch_size, count)
        setting = setting_of(model, data)
        return replace(report, checks=look(report), corruptions=spoil() if corruptions else None, setting=setting)
    wanted = spoil if corruptions else None
    job = recorded.Job(model, data, plan, tick, batch_size, count, keep, look, wanted)
    return recorded.run(job, output, resume=resume)


def _corrupted_passes(data: Any, corruptions: bool | str) -> int:
    """How often each image is classified for the corruptions."""
    if not isinstance(corruptions, str):
        return 1 + len(fitting(data)) * len(SEVERITIES) if corruptions else 0
    made = asked_for(corruptions)
    if made is not None:
        check_images(data)
        return 1 + len(made.kinds) * len(made.severities)
    kinds = SETS.get(corruptions.partition("(")[0].strip())
    if kinds is None:
        raise unknown("published set of corruptions", corruptions, (*SETS, NAME))
    return 1 + len(kinds) * (1 if corruptions.startswith("mnist_c") else len(SEVERITIES))


def _in_memory(model: Model, data: Any, plan: Plan, tick: Ticker, batch_size: int, count: int | None) -> Report:
    table: list[Sequence[Columns]] = []
    for batch in batches(data, batch_size=batch_size, count=count):
        columns, _ = plan.measure(
            model, fitted(batch, model, plan.options["bounds"], labelled=plan.judge.labelled), tick
        )
        table.append(columns)
    return plan.report(origin(data), table)


PASSES = 92
"""About how many passes the checks make for each image, forward and backward, as the attacks' are counted."""

LEAST = 32
"""The checks look at this many images at least, for fewer tell too little; few images then cost more than a quarter."""


def _checked(model: Model, data: Any, plan: Plan, surrogate: Model | None, report: Report) -> Checks:
    """The checks at the linf radius that is as large, evenly spread, as that of the first attack with a finite one."""
    bounds, length = plan.options["bounds"], total(data, None)
    even = torch.ones_like(next(batches(data, batch_size=1, count=1)).x)
    budgets = [(get_norm(a.norm).size(even).item(), eps) for a in plan.attacks if (eps := radius_of(a))]
    eps = min(budgets[0][1] / budgets[0][0], bounds[1] - bounds[0]) if budgets else None
    spent = sum(row.counts.queries + row.counts.gradients for row in report.attacks)
    affordable = max(LEAST, spent // (4 * PASSES))  # at most a quarter of the attacks' time
    count = min(MOST, affordable, MOST if length is None else max(length, 1))
    seed = plan.options["seed"]
    return check_evaluation(model, data, eps=eps, surrogate=surrogate, count=count, seed=seed, bounds=bounds)


def _moved(model: Model, device: str | torch.device | None) -> Model:
    model_checks.check_model(model)
    if device is None:
        return model
    if not isinstance(model, nn.Module):
        if str(device) == "cpu":  # where data come from
            return model
        raise InputError(
            f"device={str(device)!r} moves a network (an nn.Module), and the model is a {type(model).__name__}: leave "
            "device out, and give images on the device that it expects"
        )
    return model.to(find_device(device))


def _warn_if_trained_on(model: Model, data: str) -> None:
    card = getattr(model, "card", None)
    if data and getattr(card, "trained_on", None) == data:
        warn(f"the model was trained on these very images ({data}): expect more errors on new ones")
