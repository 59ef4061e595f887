"""Randomised smoothing: Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing".

arXiv 1902.02918, section 3: SampleUnderNoise is `counts`, Predict `predict`, Certify `certify`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.clopper_pearson import clopper_pearson
from advkit.core.draws import Draws
from advkit.core.errors import InputError, check_given, warn
from advkit.core.intervals import mcnemar
from advkit.core.option_numbers import shown
from advkit.core.pixel_range import leaving_range
from advkit.defenses._wrapped import Wrapped

ABSTAIN = -1
CHOICE, ESTIMATE, PREDICTION, LOGITS = range(4)
"""Independent series of draws, one for each use."""


class SmoothedRadii(NamedTuple):
    """The certificates of images.

    Attributes:
        classes: (N,) int64: the class of the smoothed classifier, -1 if it abstains.
        radius: (N,) float64: no point nearer than this in l2 has another class; 0 if it abstains.
    """

    classes: Tensor
    radius: Tensor


class Smoothed(Wrapped):
    """g(x): the class that `model` gives most often at x + N(0, sigma^2).

    `certify` says within which l2 radius g cannot change, `predict` what g says; either may abstain, and either errs
    on an image with probability at most alpha, whoever chose the image. The draws of an image belong to (seed, sample
    id, number of the draw): they depend neither on the batch nor on the process. The statement is about exact Gaussian
    noise in real arithmetic; the noise here has 53 random bits, and x + noise is rounded to the type of x.

    Calling the module gives logits that an attack can follow: the logarithm of the mean probabilities over `samples`
    draws (Salman et al. 2019, arXiv 1906.04584), the same draws for every image and every call.

    Args:
        model: an `nn.Module` that takes images and returns logits (N, K); pixels of noisy images leave their range.
        sigma: standard deviation of the noise, in units of the pixels.
        samples: number of draws behind the logits of a call.
        batch_size: largest number of noisy images in one pass of `predict` and `certify`.

    Raises:
        InputError: no model, or a number outside its range.
    """

    certifies_itself = True

    def __init__(self, model: nn.Module, sigma: float, *, samples: int = 32, batch_size: int = 1000) -> None:
        super().__init__(model)
        self.sigma = door.check_positive("sigma", sigma)
        self.samples = door.check_count("samples", samples)
        self.batch_size = door.check_count("batch_size", batch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities (N, K).

        Raises:
            InputError: x is no floating-point tensor (N, ...), or the answers are no logits (N, K).
        """
        door.check_floats(x)
        door.check_dense(x)
        draws = Draws(0, torch.arange(self.samples, device=x.device))
        noise = self.sigma * draws.normal(LOGITS, tuple(x.shape[1:])).to(x.device, x.dtype)  # (samples, ...)
        with leaving_range():
            answers = [self._logits(x + one).log_softmax(1) for one in noise]
        return torch.stack(answers).logsumexp(0) - math.log(self.samples)

    def predict(
        self,
        x: Tensor,
        n: int = 1000,
        alpha: float = 0.001,
        *,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        bounds: tuple[float, float] = (0, 1),
    ) -> Tensor:
        """Return the class of the smoothed classifier at each image, or -1.

        It abstains if the two most frequent classes may be equally likely, by a two-sided binomial test at `alpha`.

        Args:
            x: images (N, C, H, W) within `bounds`.
            n: number of draws for each image.
            alpha: probability that the class is wrong where one is given.
            sample_ids: (N,) integers that name the images; default: the row numbers.
            seed: another seed gives other draws.
            bounds: range of the pixels.

        Returns:
            (N,) int64.

        Warns:
            AdvkitWarning: so few draws that it abstains whatever they are.
        """
        alpha = door.check_between("alpha", alpha, 0, 1, ends=False)
        fewest = math.ceil(1 - math.log2(alpha))
        _check_draws(door.check_count("n", n), fewest + (mcnemar(fewest, 0) > alpha), alpha)  # the test may round up
        counts = self.counts(x, n, series=PREDICTION, sample_ids=sample_ids, seed=seed, bounds=bounds)
        most, classes = counts.topk(2, dim=1)
        sure = [mcnemar(first, second) <= alpha for first, second in most.tolist()]
        return classes[:, 0].where(torch.tensor(sure, dtype=torch.bool, device=x.device), ABSTAIN)

    def certify(
        self,
        x: Tensor,
        n0: int = 100,
        n: int = 10_000,
        alpha: float = 0.001,
        *,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        bounds: tuple[float, float] = (0, 1),
    ) -> SmoothedRadii:
        """Return the class of the smoothed classifier at each image, and an l2 radius within which it does not change.

        `n0` draws choose the class, `n` others bound its probability from below; the radius is
        `sigma Phi^-1(bound)`. It abstains where the bound is at most 1/2. No radius exceeds
        `sigma Phi^-1(alpha^(1/n))`.

        Args:
            x: images (N, C, H, W) within `bounds`.
            n0: number of draws that choose the class.
            n: number of draws that bound its probability.
            alpha: probability that class or radius is wrong, for each image.
            sample_ids: (N,) integers that name the images; default: the row numbers.
            seed: another seed gives other draws.
            bounds: range of the pixels.

        Returns:
            `SmoothedRadii`: classes (N,) and radius (N,).

        Warns:
            AdvkitWarning: so few draws that it abstains whatever they are.
        """
        alpha = door.check_between("alpha", alpha, 0, 1, ends=False)
        door.check_count("n0", n0)
        _check_draws(door.check_count("n", n), math.floor(-math.log2(alpha)) + 1, alpha)
        door.check_batch(x)
        names = door.check_ids(sample_ids, x)
        chosen = self.counts(x, n0, series=CHOICE, sample_ids=names, seed=seed, bounds=bounds).argmax(1)
        counts = self.counts(x, n, series=ESTIMATE, sample_ids=names, seed=seed, bounds=bounds)
        pABar = clopper_pearson(counts.gather(1, chosen[:, None]).squeeze(1), n, alpha=alpha)
        sure = pABar > 0.5
        radius = self.sigma * torch.special.ndtri(pABar)
        return SmoothedRadii(chosen.where(sure.to(chosen.device), ABSTAIN), radius.where(sure, 0.0))

    def counts(
        self,
        x: Tensor,
        n: int,
        *,
        first: int = 0,
        series: int = ESTIMATE,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        bounds: tuple[float, float] = (0, 1),
    ) -> Tensor:
        """Count how often the model predicts each class under noise.

        The counts of draws 0 to 99 and of draws 100 to 199 add up to those of 0 to 199.

        Args:
            x: images (N, C, H, W) within `bounds`.
            n: number of draws for each image.
            first: number of the first draw.
            series: draws of another series are independent; `certify` chooses by series 0 and bounds by series 1.
            sample_ids: (N,) integers that name the images; default: the row numbers.
            seed: another seed gives other draws.
            bounds: range of the pixels.

        Returns:
            (N, K) int64. A draw at which the model answers NaN counts for no class.
        """
        n, first = door.check_count("n", n), door.check_count("first", first, least=0)
        series = door.check_count("series", series, least=0)
        door.check_images(x, door.check_bounds(bounds))
        names, seed = door.check_ids(sample_ids, x), door.check_seed(seed)
        with looking(self.model, x.device), leaving_range(), model_checks.explained(self.model, x):
            counts = torch.zeros(len(x), self._classes(x), dtype=torch.int64, device=x.device)
            for start in range(0, len(x) * n, self.batch_size):
                row = torch.arange(start, min(start + self.batch_size, len(x) * n), device=x.device)
                image, number = row // n, first + row % n
                draws = Draws(seed, names[image] * 2**32 + number)
                noise = draws.normal(series, tuple(x.shape[1:])).to(x.device, x.dtype)
                logits = self._logits(x[image] + self.sigma * noise)
                votes = nn.functional.one_hot(logits.argmax(1), logits.shape[1])
                counts.index_add_(0, image, votes * ~logits.isnan().any(1, keepdim=True))
        return counts

    def _classes(self, x: Tensor) -> int:
        return int(self._logits(x[:1]).shape[1])

    def _logits(self, x: Tensor) -> Tensor:
        """The model's answers (N, K)."""
        logits = model_checks.ask(self.model, x)
        model_checks.check_logits(logits, x)
        return logits


def _check_draws(n: int, fewest: int, alpha: float) -> None:
    """Warn of fewer draws than decide anything even if all of them agree."""
    if n < fewest:
        warn(f"{n} draws decide nothing at alpha={alpha:g}, even if all agree: it takes n={fewest} or more")


def certified_accuracy(found: SmoothedRadii, y: Tensor, radii: Tensor | Sequence[float]) -> Tensor:
    """Return the curve of Cohen et al. 2019: for each r the fraction of images whose true class is certified beyond r.

    Args:
        found: result of `Smoothed.certify`.
        y: true classes (N,).
        radii: l2 radii (R,), a tensor or a list of numbers.

    Returns:
        (R,) float64; NaN for no images.

    Raises:
        InputError: y is not one integer an image, the radii are not numbers >= 0 (R,), or `found` is something else.
    """
    check_given("found", found, SmoothedRadii, "what Smoothed.certify returns")
    y = door.check_classes("labels", y.to(found.classes.device) if isinstance(y, Tensor) else y, found.classes)
    reach = found.radius.where(found.classes == y, 0.0)  # 0 is beyond no radius
    try:
        given = torch.as_tensor(radii)
        asked = given.to(reach)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected radii as numbers (R,), got {shown(radii)}") from error
    if given.dtype == torch.bool:
        raise InputError(f"expected radii as numbers (R,), got {shown(radii)}")
    if not bool((asked >= 0).all()):  # below 0 an image would count that is not certified
        raise InputError(f"expected radii as numbers >= 0 (R,), got NaN among them or a negative one: {shown(radii)}")
    if asked.ndim != 1:
        raise InputError(f"expected radii as numbers (R,), got shape {tuple(asked.shape)}")
    return (reach > asked[:, None]).double().mean(1)
