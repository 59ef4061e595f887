"""Certificates in an evaluation: which images are certified, and which were found wrong within the certified ball."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.certification import METHODS
from advkit.certification import certify as bounded
from advkit.core.attack import Attack
from advkit.core.errors import AdvkitError, InputError, unknown
from advkit.core.float64 import in_float64
from advkit.core.guard import Model
from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm
from advkit.core.progress_bar import Progress
from advkit.core.registry import parse_spec
from advkit.core.written import written
from advkit.data._stream import Batch
from advkit.evaluation.measure.tally import Columns

PASSES = {"ibp": 20, "crown_ibp": 30, "crown": 2000, "alpha_crown": 4000, "exact": 4000, "lipschitz": 100}
"""How many passes of an attack the methods are as expensive as, about, on lenet5: for the progress."""


class BrokenCertificateError(AdvkitError):
    """A certified image was found wrong within the ball: the certificate or the attack is faulty."""


@dataclass(frozen=True, kw_only=True)
class CertificateAsked:
    """The certificate that is computed for every image.

    Args:
        method: name of a method of `advkit.certification.certify`.
        norm, eps: norm and radius of the ball.
        options: further options of the method.
    """

    method: str
    norm: str
    eps: float
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        """The certificate as text for `evaluate(certify=)`."""
        options = {"eps": self.eps, "norm": self.norm, **self.options}
        return f"{self.method}({', '.join(f'{k}={written(v)}' for k, v in options.items())})"

    @property
    def passes(self) -> int:
        """About how many passes over each image are as expensive."""
        return PASSES[self.method]

    def columns(
        self, model: Model, batch: Batch, bounds: tuple[float, float], points: Tensor, progress: Progress
    ) -> dict[str, Tensor]:
        """Return `certified` and `broken` (M,) bool, on the CPU.

        Args:
            model: the classifier.
            batch: the images.
            bounds: range of the pixels.
            points: points that attacks found in the ball of each image, which an exact search tries first (M, ...).
            progress: called with (done, all), see `advkit.certification.certify`.
        """
        options: dict[str, Any] = {"eps": self.eps, "norm": self.norm, "method": self.method, **self.options}
        if self.method == "exact":
            options["attack"] = lambda model, x, y: points
        found = bounded(model, batch.x, batch.y, bounds=bounds, progress=progress, **options)
        broken = torch.zeros_like(found.certified) if found.broken is None else found.broken
        return {"certified": found.certified.cpu(), "broken": broken.cpu()}

    def holds(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """(M,) bool: x_adv lies in the ball around x; on the CPU."""
        return (get_norm(self.norm).size(in_float64(x_adv) - in_float64(x)) <= self.eps).cpu()

    def check(self, clean: Columns, broken: Tensor, by: str) -> None:
        """Raise BrokenCertificateError if a certified image of the batch was found wrong within the ball."""
        faulty = (clean["certified"] & broken).nonzero().flatten()
        if len(faulty):
            number = int(clean["sample_ids"][faulty[0]])
            raise BrokenCertificateError(
                f"image {number} is certified by {self.spec} and yet {by} finds it wrong within that ball: "
                "a fault in one of the two, so no figure of either can be trusted; please report it"
            )


def asked_certificate(certify: str | None, attacks: Sequence[Attack]) -> CertificateAsked | None:
    """Parse a certificate: a name such as "crown", or a spec such as "crown(eps=0.1, norm=linf)".

    Without its own ball it takes the norm of the first attack, and the largest eps of the attacks in that norm.

    Raises:
        InputError: the method is unknown, or there is no ball.
    """
    if certify is None:
        return None
    if not isinstance(certify, str):
        raise InputError(f"expected certify as a method such as 'crown' or 'crown(eps=0.1)', got {certify!r}")
    spec = parse_spec(certify, example="crown(eps=0.1)", parameters=lambda method: ("eps", "norm"))
    if spec.name not in METHODS:
        raise unknown("method", spec.name, METHODS)
    options = dict(spec.options)
    norm = _norm(options.pop("norm", None), attacks)
    radii = [eps for a in attacks if a.norm == norm and (eps := getattr(a, "eps", None)) is not None]
    eps = options.pop("eps", max(radii, default=None))
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise InputError(f"no attack has an eps in {norm} to certify at: give one, as in '{spec.name}(eps=0.1)'")
    if not math.isfinite(eps):
        raise InputError(f"expected a finite eps to certify at, got {eps}: give one, as in '{spec.name}(eps=0.1)'")
    return CertificateAsked(method=spec.name, norm=norm, eps=float(eps), options=options)


def _norm(named: Any, attacks: Sequence[Attack]) -> str:
    """The norm that the spec names (a bare word is a spec of its own), else the first attack's, else linf."""
    if named is not None:
        return str(getattr(named, "name", named))
    return attacks[0].norm if attacks else "linf"


@dataclass(frozen=True, kw_only=True)
class Certification:
    """Lower and upper bounds of the error within one ball.

    Attributes:
        method, norm, eps: method of the certificates, and norm and radius of the ball.
        images: number of images.
        open: number of images that are not certified.
        found: number of images that are wrong, or that an attack, the control or the search of the certificate found
            wrong within the ball.
    """

    method: str
    norm: str
    eps: float
    images: int
    open: int
    found: int

    @property
    def certified_error(self) -> float:
        """The share of images that are not certified: an upper bound of the error under any attack in the ball."""
        return self.open / self.images

    @property
    def certified_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the certified error."""
        return wilson_interval(self.open, self.images)

    @property
    def found_error(self) -> float:
        """The share of images found wrong within the ball: a lower bound."""
        return self.found / self.images

    @property
    def found_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the found error."""
        return wilson_interval(self.found, self.images)

    @property
    def exact(self) -> bool:
        """Whether both bounds are equal."""
        return self.open == self.found

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "method": self.method,
            "norm": self.norm,
            "eps": self.eps,
            "certified_error": self.certified_error,
            "certified_error_interval": list(self.certified_error_interval),
            "found_error": self.found_error,
            "found_error_interval": list(self.found_error_interval),
            "exact": self.exact,
        }


def certification_of(asked: CertificateAsked | None, batches: Any) -> Certification | None:
    """Compute the certification from the columns of all batches; None without certificates."""
    if asked is None:
        return None
    images = open_ = found = 0
    for clean, *_ in batches:
        images += len(clean["certified"])
        open_ += int((~clean["certified"]).sum())
        found += int(clean["broken"].sum())
    return Certification(method=asked.method, norm=asked.norm, eps=asked.eps, images=images, open=open_, found=found)


def broken_by(asked: CertificateAsked, clean: Columns, row: Columns, x: Tensor, x_adv: Tensor) -> Tensor:
    """Return (M,) bool: the image is wrong, or this attack found it wrong within the ball."""
    return clean["clean_wrong"] | (row["wrong"] & asked.holds(x, x_adv))
