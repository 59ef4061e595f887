"""Gradients that a defence computes itself, in float16 too, where small ones would vanish."""

import pytest
import torch

from advkit.defenses import _carry


@pytest.mark.parametrize("size", [1e-6, 1.0, 2.0**4, 2.0**11, 2.0**15])
def test_float16_gradients_of_every_size_are_those_of_float32(size: float) -> None:
    """Up to 2**15 they overflow at the first scales; a parameter without a part in the value has no gradient."""
    w, idle = (torch.linspace(0.25, 1, 4, dtype=torch.float16).requires_grad_() for _ in range(2))
    value = (w.float() * torch.tensor([1.0, -1.0, 0.5, 0.25])).sum() * size
    found, none = _carry.gradients(value, [w, idle])
    assert none is None
    assert found is not None
    expected = torch.tensor([1.0, -1.0, 0.5, 0.25]) * size
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=2**-24)


def test_float16_gradients_that_no_scale_holds_are_not_finite() -> None:
    w = torch.ones(2, dtype=torch.float16).requires_grad_()
    (found,) = _carry.gradients((w.float() * torch.tensor([1.0, 1e30])).sum(), [w])
    assert found is not None
    assert found.isfinite().tolist() == [True, False]  # a GradScaler must see it


def test_a_pass_is_in_float16_by_its_tensors_or_by_autocast() -> None:
    w = torch.ones(2)
    value = w.sum()
    assert not _carry._is_half(value, [w])
    assert _carry._is_half(value, [w, w.half()])
    for kind, half in ((torch.float16, True), (torch.bfloat16, False)):
        with torch.autocast("cpu", kind):
            assert _carry._is_half(value, [w]) == half
