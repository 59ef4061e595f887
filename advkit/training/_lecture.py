"""The lecture's SGD. Krizhevsky, Sutskever, Hinton: ImageNet classification with deep CNNs, 2012, section 5."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from advkit.core.door import check_between


class LectureSGD(torch.optim.Optimizer):
    """`dw <- momentum dw - weight_decay eta w - eta grad; w <- w + dw`, eta the learning rate, dw 0 at the start.

    torch's SGD keeps `dw / eta` instead, which is another rule if eta changes. In the lecture and the paper momentum is
    0.9 and weight_decay 0.0005. The rule applies to all parameters, biases included.

    Args:
        params: parameters or groups of them, as every optimizer of torch takes them.
        lr: the learning rate eta.
        momentum, weight_decay: the rule's two constants.

    Raises:
        InputError: a number is negative, infinite or none.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        lr = check_between("lr", lr, 0, math.inf)
        momentum = check_between("momentum", momentum, 0, math.inf)
        weight_decay = check_between("weight_decay", weight_decay, 0, math.inf)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step. A `closure` computes loss and gradients first, and its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            eta = group["lr"]
            for w in (p for p in group["params"] if p.grad is not None):
                if "dw" not in self.state[w]:
                    self.state[w]["dw"] = torch.zeros_like(w)
                dw = self.state[w]["dw"]
                dw.mul_(group["momentum"]).add_(w, alpha=-group["weight_decay"] * eta).add_(w.grad, alpha=-eta)
                w.add_(dw)
        return loss
