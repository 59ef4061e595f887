"""Flow: the image is what the flow says, its roughness is what the result says, and smoothness costs what tau says."""

import pytest
import torch

from advkit.attacks import Flow, create_attack, limited
from advkit.attacks.flow import flowed, roughness
from advkit.core.errors import InputError
from advkit.testing._toys import SHAPE, toy_case


def test_no_flow_moves_nothing_and_a_whole_pixel_is_a_shift() -> None:
    x = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flow = torch.zeros(2, 2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(flowed(x, flow), x, atol=1e-6, rtol=0)
    flow[:, 0] = 1  # every pixel from its neighbour to the right, the last from itself
    torch.testing.assert_close(flowed(x, flow), torch.cat([x[..., 1:], x[..., -1:]], -1), atol=1e-6, rtol=0)
    flow[:, 0], flow[:, 1] = 0, -0.5
    half = (x + torch.cat([x[:, :, :1], x[:, :, :-1]], 2)) / 2
    torch.testing.assert_close(flowed(x, flow), half, atol=1e-6, rtol=0)


def test_roughness_is_the_sum_over_pairs_of_neighbours() -> None:
    flow = torch.rand(1, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    total = 0.0
    for i in range(3):
        for j in range(4):
            for a, b in ((i + 1, j), (i, j + 1)):
                if a < 3 and b < 4:
                    total += float((flow[0, :, i, j] - flow[0, :, a, b]).norm())
    assert float(roughness(flow)) == pytest.approx(total)
    assert float(roughness(flow.new_ones(1, 2, 3, 4))) == 0


def net() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    model = toy_case(3).model
    x = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return model, x, model(x).argmax(1).detach()


def test_the_size_is_that_of_the_image_returned() -> None:
    model, x, y = net()
    flows: dict[bytes, float] = {}

    class Spied(Flow):
        def render(self, x, theta):  # type: ignore[no-untyped-def]
            image = super().render(x, theta)
            for one, f in zip(image.detach(), theta.detach(), strict=True):
                flows[one.clamp(0, 1).numpy().tobytes()] = float(roughness(f[None])) / f[0].numel()
            return image

    for stop in ("fooled", "never"):
        found = Spied(steps=15, lr=0.2)(model, x, y, stop=stop)
        assert found.size is not None
        for i, image in enumerate(found.x_adv):
            if not torch.equal(image, x[i]):
                assert float(found.size[i]) == pytest.approx(flows[image.numpy().tobytes()], abs=1e-9)
            else:
                assert float(found.size[i]) == pytest.approx(0, abs=1e-9)
    assert found.records()[0]["size"] == float(found.size[0])
    again = limited(Flow(steps=9), 5)(model, x, y)
    assert again.size is not None


def test_a_heavier_tau_gives_a_smoother_flow() -> None:
    model, x, y = net()
    sizes = [Flow(steps=30, tau=tau)(model, x, y, stop="never").size for tau in (0.0, 0.2, 1.0)]
    medians = [float(size.median()) for size in sizes if size is not None]
    assert medians[0] > medians[1] > medians[2]


def test_it_fools_where_moving_pixels_can_and_costs_what_the_page_says() -> None:
    """One column of light; the class is whether it stands left or right."""
    x = torch.zeros(4, 1, 8, 8, dtype=torch.float64)
    x[:, :, :, 3] = 1
    place = torch.linspace(-1, 1, 8, dtype=torch.float64)
    model = lambda z: torch.stack([-(z * place).sum((1, 2, 3)), (z * place).sum((1, 2, 3))], 1)  # noqa: E731
    y = torch.zeros(4, dtype=torch.int64)
    found = Flow(steps=80, lr=0.2)(model, x, y)
    assert found.success.all()
    slow = Flow(steps=7, lr=1e-3)(model, x, y)
    assert not slow.success.any()
    assert slow.gradients.tolist() == [7] * 4
    assert max(slow.queries.tolist()) <= 9


def test_wrong_options_are_refused() -> None:
    for spec in ("flow(tau=-1)", "flow(lr=0)", "flow(steps=0)"):
        with pytest.raises(InputError):
            create_attack(spec)
    with pytest.raises(InputError, match="N, C, H, W"):
        Flow()(lambda z: z, torch.rand(2, 5), torch.zeros(2, dtype=torch.int64), stop="never")
