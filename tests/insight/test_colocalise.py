"""Co-localisation: overlaps, pairs and boxes by closed forms; the checkpoint that ships finds the digits."""

import pytest
import torch

from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.insight.colocalise import Colocaliser, TripletLoss, load_colocaliser, overlap, partners
from advkit.insight.train_colocaliser import overlaps


def test_overlap_is_intersection_over_union():
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    b = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 8, 8]])
    assert overlap(a, b).tolist() == pytest.approx([1, 4 / 28, 0])


def test_partners_share_the_label_and_each_is_partner_of_one():
    y = torch.tensor([3, 1, 3, 0, 1, 3])
    other = partners(y)
    assert torch.equal(y[other], y)
    assert sorted(other.tolist()) == list(range(6))
    assert other[3] == 3
    assert all(other[i] != i for i in (0, 1, 2, 4, 5))


def test_the_boxes_of_the_data_hold_the_digits():
    data = load_data("distorted_mnist:cluttered")
    plain, _ = load_data("mnist5k")[:5]
    x, _ = data[:5]
    for image, digit, (top, left, bottom, right) in zip(
        x, plain, data.boxes(torch.arange(5)).long().tolist(), strict=True
    ):
        window, own = image[:, top:bottom, left:right], digit[:, 2:30, 2:30]
        assert bool((window >= own - 1 / 255).all())  # clutter lies over it and only adds
        assert bool((window == own).float().mean() > 0.5)
    assert torch.equal(data.boxes()[7:9], data.boxes(torch.tensor([7, 8])))
    with pytest.raises(InputError, match="cluttered"):
        load_data("distorted_mnist:R").boxes()


def test_an_untrained_one_looks_at_the_middle_and_its_crop_is_its_box():
    net = Colocaliser()
    x = torch.rand(2, 1, 60, 60)
    torch.testing.assert_close(net.boxes(x), torch.tensor([[16.0, 16, 44, 44]]).expand(2, 4))
    torch.testing.assert_close(net.transformer(x), x[:, :, 16:44, 16:44], rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_papers_hinge_and_trains_the_transformer_alone():
    net = Colocaliser().train()
    x = torch.rand(6, 1, 60, 60)
    torch.manual_seed(0)
    loss = TripletLoss(alpha=1.0)(net, x, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert 0 < loss.item() < 5
    assert all(p.grad is None for p in net.eye.parameters())
    assert net.transformer.regression.weight.grad.abs().sum() > 0
    same = x[:1].expand(4, -1, -1, -1)  # equal images: the crops' encodings are equal too, only the random one differs
    torch.manual_seed(0)
    hinge = TripletLoss(alpha=1.0)(net, same, torch.zeros(4, dtype=torch.int64)).item()
    assert hinge < 1


@pytest.mark.parametrize("seed", [0, 1])
def test_the_checkpoint_that_ships_finds_at_least_85_percent_at_an_overlap_of_half(seed):
    found = overlaps(load_colocaliser(), seed=seed)
    assert (found >= 0.5).double().mean() >= 0.85


def test_wrong_weights_get_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="train_colocaliser"):
        load_colocaliser(tmp_path / "none.safetensors")
