"""Adversarial errors in your validation loop: a plain function, and a callback for Lightning."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.asked import asked_attacks
from advkit.evaluation.measure.report import Report

Attacks = Sequence[Attack | str] | Attack | str


def validation_errors(
    model: Model,
    x: Tensor,
    y: Tensor,
    attacks: Attacks = "fgsm",
    *,
    eps: float | str | None = None,
    prefix: str = "",
    bounds: tuple[float, float] = (0, 1),
    seed: int = 0,
) -> dict[str, float]:
    """Return the errors of one batch for your log. The model is left as it was; autograd may be on or off.

    Args:
        model: an nn.Module or a function that takes images in `bounds` and returns logits.
        x: images (N, C, H, W).
        y: labels (N,).
        attacks: attack objects, or specs such as "pgd(steps=10)"; one or several.
        eps: radius of the budget attacks that have none of their own.
        prefix: text before every name.
        bounds: range of the pixels.
        seed: seed of the attacks' random numbers.

    Returns:
        `clean_error`, `adversarial_error` (under any of the attacks), and `adversarial_error/NAME` for each of several
        attacks; fractions of the batch.

    Raises:
        InputError: an attack is unknown, or images, labels or outputs do not fit.
    """
    with torch.inference_mode(False), torch.enable_grad():  # a clone made here has gradients, whatever x was made in
        report = evaluate(model, (x.clone(), y.clone()), attacks, eps=eps, bounds=bounds, seed=seed)
    return {prefix + name: value for name, value in scalars(report).items()}


def scalars(report: Report) -> dict[str, float]:
    """Return the errors of a report by name: clean, adversarial, for each of several attacks, and under corruptions.

    Args:
        report: the report.
    """
    found = {"clean_error": report.clean_error}
    if report.attacks:
        found["adversarial_error"] = report.adversarial_error
    specs = [row.attack for row in report.attacks]
    names = [spec.partition("(")[0] for spec in specs]
    if len(specs) > 1:
        for spec, name, row in zip(specs, names, report.attacks, strict=True):
            found[f"adversarial_error/{name if names.count(name) == 1 else spec}"] = row.adversarial_error
    if report.certification is not None:
        found["certified_error"] = report.certification.certified_error
    if report.corruptions is not None:
        found["corrupted_error"] = report.corruptions.mean_error
        found |= {f"corrupted_error/{kind}": report.corruptions.error(kind) for kind in report.corruptions.wrong}
    return found


def lightning_callback(
    attacks: Attacks = "fgsm",
    *,
    eps: float | str | None = None,
    prefix: str = "val_",
    batches: int | None = None,
    every: int = 1,
    bounds: tuple[float, float] = (0, 1),
    seed: int = 0,
) -> Any:
    """Make a callback for Lightning's Trainer that logs the adversarial errors of the validation batches.

    The module's `forward` takes images in `bounds` and returns logits; a batch is (x, y, ...). The values are means
    over the images of the epoch, across processes too; `ModelCheckpoint(monitor="val_adversarial_error")` finds them.

    Args:
        attacks: attack objects, or specs such as "pgd(steps=10)"; one or several.
        eps: radius of the budget attacks that have none of their own.
        prefix: text before every name.
        batches: number of validation batches to attack in an epoch; default: all.
        every: number of epochs from one attack to the next; epochs between are not attacked.
        bounds: range of the pixels.
        seed: seed of the attacks' random numbers.

    Raises:
        InputError: an attack is unknown, or Lightning is not installed.
    """
    asked = asked_attacks(attacks, eps)
    if every < 1 or (batches is not None and batches < 1):
        raise InputError(f"expected every and batches of at least 1, got {every} and {batches}")

    class AdversarialValidation(_callback_class()):  # type: ignore[misc]
        """Logs clean and adversarial errors of the validation batches."""

        def on_validation_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            due = not trainer.sanity_checking and trainer.current_epoch % every == 0
            if not due or (batches is not None and batch_idx >= batches):
                return
            x, y, *_ = batch
            errors = validation_errors(pl_module, x, y, asked, prefix=prefix, bounds=bounds, seed=seed + batch_idx)
            pl_module.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(y), sync_dist=True)

    return AdversarialValidation()


def _callback_class() -> Any:
    """The class that callbacks inherit from, of either name of the package."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return importlib.import_module(name).Callback
        except ImportError:
            continue
    raise InputError("a callback for Lightning needs the package lightning: pip install lightning")
