"""A network behind a transform of its images, so that every attack is adaptive unless asked otherwise."""

import torch
from torch import Tensor, nn

from advkit.core.door import check_bounds, check_count, check_floats
from advkit.core.errors import InputError
from advkit.core.model_checks import ask
from advkit.defenses._wrapped import Wrapped
from advkit.defenses.transforms import Transform, create_transform


class Transformed(Wrapped):
    """`model(transform(x))`, differentiable as an adaptive attack needs it.

    A transform whose derivative is 0 or does not exist (rounding, JPEG) gets the identity's (BPDA); one that can be
    differentiated keeps its own. A random transform is drawn once for an answer, and `samples` times where a gradient
    is asked for (EOT): there the logits are the mean over the draws. So every attack on this model knows the transform.

    What an attack that ignores the transform says is `transfer(attack, defended.model)(defended, x, y)`: an upper bound
    on robustness that means nothing, since nobody attacks so.

    Args:
        model: an `nn.Module` that takes images and returns logits (N, K).
        transform: a spec such as "bit_depth(3)", or a `Transform`.
        samples: number of draws of a random transform in each gradient pass.
        bounds: range of the pixels. The transform does to your images what it does to the same images in [0, 1].

    Raises:
        InputError: no model, no transform, or wrong options; in a call: pixels outside `bounds`.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: str | Transform,
        *,
        samples: int = 10,
        bounds: tuple[float, float] = (0, 1),
    ) -> None:
        super().__init__(model)
        check_count("samples", samples)
        self.bounds = check_bounds(bounds)
        self.transform = create_transform(transform) if isinstance(transform, str) else transform
        if not isinstance(self.transform, Transform):
            raise InputError(f"expected transform as a spec such as 'jpeg(75)' or a Transform, got {transform!r}")
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K).

        Raises:
            InputError: x is no floating-point tensor (N, ...), or pixels lie outside `bounds`.
        """
        if not isinstance(x, Tensor):  # of tensors the transform says how they reach its range
            check_floats(x)
        if not (self.transform.draws and x.requires_grad and torch.is_grad_enabled()):
            return ask(self.model, self._changed(x))
        draws = [ask(self.model, self._changed(x)) for _ in range(self.samples)]
        return torch.stack(draws).mean(0)

    def _changed(self, x: Tensor) -> Tensor:
        return self.transform(x, bounds=self.bounds)
