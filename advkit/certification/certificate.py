"""What `certify` returns, and how it is shown."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm
from advkit.core.saved import alike
from advkit.core.sheet import Sheet, Table
from advkit.core.shown import Shown, sheet_of
from advkit.core.words import beyond_the_range, number, percent, short, span


@dataclass(frozen=True, kw_only=True, repr=False)
class Certificate(Shown):
    """The bounds for every attack within the ball.

    Attributes:
        certified: (N,) bool: True where every point of the ball is classified as y. False means unknown or broken.
        margin: (N, K) float64: lower bounds of logit y minus the other logit over the ball; 0 at y itself. A bound of
            2^-1022, by the method "exact", says that the margin is positive and no more. All are -inf where a number in
            the network may exceed the largest of its type.
        method: name of the method.
        norm: norm of the ball.
        radius: (N,) float64: a radius at which the image is certified, 0 if none was found; None if not requested.
        eps: (N,) float64: the radius of the ball around each image.
        broken: (N,) bool: True where a point of the ball is not classified as y; only for the method "exact", otherwise
            None. An image that is neither certified nor broken is undecided.
        x_adv: (N, C, H, W): such a point for every broken image, a copy of x for others; None if not "exact".
    """

    certified: Tensor
    margin: Tensor
    method: str
    norm: str
    radius: Tensor | None = None
    eps: Tensor | None = None
    broken: Tensor | None = None
    x_adv: Tensor | None = None

    def _brief(self) -> str:
        images, certified = len(self.certified), int(self.certified.sum())
        return f"{images:,} images in {self.norm} by {self.method}, {certified:,} certified"

    def __eq__(self, other: object) -> bool:
        return alike(vars(self), vars(other)) if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash((Certificate, self.method, self.norm, len(self.certified), int(self.certified.sum())))

    @property
    def undecided(self) -> Tensor:
        """(N,) bool: True for images that are neither certified nor broken."""
        return ~self.certified if self.broken is None else ~(self.certified | self.broken)

    @property
    def exact(self) -> bool:
        """Whether every image is decided, so that `certified_error` is the error under the best attack."""
        return not bool(self.undecided.any())

    @property
    def certified_error(self) -> float:
        """The share of images that are not certified: an upper bound of the error under any attack; NaN for none."""
        return float((~self.certified).double().mean())

    @property
    def certified_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the certified error; (0, 1) of no images."""
        return wilson_interval(int((~self.certified).sum()), len(self.certified)) if len(self.certified) else (0.0, 1.0)

    @property
    def robust_accuracy(self) -> float:
        """The share of images that are certified: a lower bound of the accuracy under any attack; NaN for none."""
        return 1 - self.certified_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the robust accuracy."""
        low, high = self.certified_error_interval
        return 1 - high, 1 - low

    @property
    def least_margin(self) -> Tensor:
        """(N,) float64: the lower bound of y's lead over its closest rival; > 0 for certified images."""
        own = self.margin == 0  # y itself, and nothing that is certified
        return self.margin.where(~own, torch.inf).amin(1)

    def records(self) -> list[dict[str, Any]]:
        """Return one row an image, with the least margin."""
        columns = {"certified": self.certified, "least_margin": self.least_margin}
        columns |= {name: value for name in ("broken", "radius", "eps") if (value := getattr(self, name)) is not None}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


@sheet_of.register
def _(found: Certificate) -> Sheet:
    count = len(found.certified)
    if not count:
        return ["No images."]
    radii = [] if found.eps is None else sorted(set(found.eps.tolist()))
    ball = f" of eps {number(radii[0])}{f' to {number(radii[-1])}' if len(radii) > 1 else ''}" if radii else ""
    rows = [("certified", percent(found.robust_accuracy), span(found.robust_accuracy_interval))]
    rows.append(("not certified", percent(found.certified_error), span(found.certified_error_interval)))
    right = ("", "95 % interval")
    if found.broken is not None:
        broken, open_ = int(found.broken.sum()), int(found.undecided.sum())
        rows.append(("broken by a point of the ball", percent(broken / count), span(wilson_interval(broken, count))))
        rows.append(("undecided", percent(open_ / count), span(wilson_interval(open_, count))))
    said = "No attack in the ball errs on more than what is not certified. Of that share nothing is known."
    if found.broken is not None:
        said = f"Exactly {percent(found.certified_error)} of these images can be made wrong within the ball."
        if not found.exact:
            said = f"{open_:,} images are undecided: allow more time_limit and nodes, or try stronger attacks."
    head = f"{count:,} images, {found.norm} ball{ball}, {found.method}"
    radius = [] if found.radius is None else [f"Median certified radius: {short(found.radius.median().item())}."]
    beyond = beyond_the_range(radii[0], get_norm(found.norm).boxed) if radii else ""
    head = f"{head}. {beyond}" if beyond else head
    return [head, Table(("images", *right), rows, right=right), *radius, said]
