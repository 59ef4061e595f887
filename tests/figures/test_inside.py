"""Figures of the inside: what is drawn where, what the captions say, what is refused."""

from types import SimpleNamespace

import pytest
import torch

from advkit.certification import LayerStretch, Lipschitz
from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.evaluation import Curve
from advkit.figures import (
    answers_sheet,
    boxes_sheet,
    correspondence_sheet,
    directions_sheet,
    error_curves,
    filters_sheet,
    lipschitz_chart,
    maps_sheet,
    movement_chart,
    occlusion_sheet,
    top_sheet,
)
from advkit.figures._panels import Panel, Row, beside, sheet, signed
from advkit.figures.answers import OTHER, OWN
from advkit.insight import Correspondence, Direction, Filters, Movement, Occlusion, Top


def pixels(axes):
    return torch.as_tensor(axes.images[0].get_array().data)


def caption(figure):
    return " ".join(figure._supxlabel.get_text().split())


def kernels(maps=4, inputs=1):
    weights = torch.randn(maps, inputs, 3, 3, generator=torch.Generator().manual_seed(0))
    weights[1] *= 0.01
    rms = weights.square().mean((1, 2, 3)).sqrt()
    return Filters("features.0", weights, rms, rms < 0.1 * rms.median(), rms > 3 * rms.median())


def test_filters_are_marked_and_the_caption_names_layer_scale_and_data():
    found = kernels()
    figure = filters_sheet(found, silent=torch.tensor([False, False, True, False]), data="toys")
    assert [axes.get_title() for axes in figure.axes] == ["0", "1 dead", "2 silent", "3"]
    torch.testing.assert_close(pixels(figure.axes[2]), found.scaled()[2, 0])
    said = caption(figure)
    assert "Layer features.0, 4 filters, one scale for all" in said
    assert "dead (below a tenth of the median): 1;" in said
    assert "Silent on toys: 2." in said
    alone = filters_sheet(found, together=False)
    torch.testing.assert_close(pixels(alone.axes[1]), found.scaled(together=False)[1, 0])
    assert "each filter on its own scale" in caption(alone)


@pytest.mark.parametrize(("inputs", "first"), [(5, 10), (7, 7), (12, 12), (30, 12)])
def test_a_row_of_kernels_begins_with_a_filters_first(inputs, first):
    figure = filters_sheet(kernels(3, inputs), most=30)
    assert figure.axes[0].get_gridspec().ncols == first
    assert sum(bool(axes.images) for axes in figure.axes) == min(30, 3 * inputs)


def test_colour_kernels_are_drawn_in_colour():
    assert pixels(filters_sheet(kernels(2, 3)).axes[0]).shape == (3, 3, 3)


def test_maps_share_one_scale_and_the_asked_ones_are_drawn_in_order():
    x, maps = torch.rand(2, 1, 6, 6), torch.rand(2, 5, 4, 4)
    figure = maps_sheet(x, maps, layer="c1", labels=["a", "b"], units=(3, 0), data="toys")
    assert [axes.get_title() for axes in figure.axes[:3]] == ["", "map 3", "map 0"]
    assert torch.equal(pixels(figure.axes[4]), maps[1, 3])
    first, second = [(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in (figure.axes[1], figure.axes[5])]
    assert first == second == (0.0, pytest.approx(maps[:, [3, 0]].amax().item()))
    assert "Layer c1: 5 maps of 4x4" in caption(figure)
    with pytest.raises(InputError, match=r"maps in 0 .. 4 of layer 'c1', got \[5\]"):
        maps_sheet(x, maps, layer="c1", labels=["a", "b"], units=(5,))


def test_bars_are_the_probabilities_and_the_true_class_is_blue():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.5, -3.0]])
    figure = answers_sheet([("clean", torch.rand(1, 3, 8, 8), logits)], y=[2], classes="abcdef", data="toys")
    bars = figure.axes[1].patches
    p = logits[0].softmax(0)
    assert [bar.get_width() for bar in bars] == pytest.approx(p.sort(descending=True).values[:5].tolist())
    from matplotlib.colors import to_hex

    assert [to_hex(bar.get_facecolor()) for bar in bars] == [OTHER, OWN, OTHER, OTHER, OTHER]
    assert [text.get_text() for text in figure.axes[1].texts][:2] == ["b  56 %", "c  21 %"]
    with pytest.raises(InputError, match="each of 2 images"):
        answers_sheet([("", torch.rand(1, 3, 8, 8), logits)], y=[0, 1])


def test_the_square_that_is_drawn_is_the_one_that_lowers_most():
    probability = torch.full((2, 3, 3), 0.9)
    probability[0, 1, 2] = probability[1, 0, 0] = 0.2
    places = torch.tensor([0, 3, 6])
    found = Occlusion(probability, torch.zeros(2, 3, 3).long(), torch.ones(2), None, None, places, places, 4, (10, 10))
    figure = occlusion_sheet(torch.rand(2, 1, 10, 10), found, labels=["a", "b"], groups=["clean", "adversarial"])
    boxes = [axes.lines[0].get_xydata() for axes in figure.axes if axes.lines]
    assert boxes[0].min(0).tolist() == [5.5, 2.5]
    assert boxes[0].max(0).tolist() == [9.5, 6.5]
    assert boxes[1].min(0).tolist() == [-0.5, -0.5]
    assert [axes.get_ylabel() for axes in figure.axes] == ["clean", "probability", "adversarial", "probability"]
    assert figure.axes[1].get_title() == "least 20.0 %"


def data():
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return MemoryDataset("toys", "test", "ab", x, torch.tensor([0, 1, 0, 1, 0, 1]))


def test_top_patches_stand_above_their_projections():
    top = Top("c", 3, torch.tensor([2.0, 1.0]), torch.tensor([4, 1]), torch.zeros(2, 2).long(), [(1, 2, 5, 6)] * 2)
    backs = torch.randn(2, 1, 8, 8)
    figure = top_sheet([top], data(), [backs], method="guided")
    assert torch.equal(pixels(figure.axes[0]), data()[4][0][0, 1:5, 2:6])
    torch.testing.assert_close(pixels(figure.axes[3]), signed(backs[1, :, 1:5, 2:6])[0][0])
    assert "guided gradient" in caption(figure)


def test_directions_and_boxes_and_movement_say_what_they_show():
    found = [Direction(torch.ones(1), torch.ones(2), torch.tensor([3, 0]))]
    figure = directions_sheet(found, ["unit 5"], data(), layer="f6")
    assert [axes.get_title() for axes in figure.axes] == ["b", "a"]
    assert figure.axes[0].get_ylabel() == "unit 5"
    box = torch.tensor([[1.0, 2, 5, 6]])
    figure = boxes_sheet(data()[:1][0], torch.rand(1, 1, 4, 4), box, box + 1, torch.tensor([0.5]))
    assert figure.axes[0].get_title() == "overlap 0.50"
    assert len(figure.axes[0].lines) == 2
    moved = Movement(("input", "a"), torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]), torch.ones(2, 3) * 0.1)
    figure = movement_chart(moved, data="toys")
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([0.2, 0.6])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["input", "a"]
    assert "Data: toys." in caption(figure)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_ending_of_the_name_decides_the_kind(tmp_path, ending):
    place = tmp_path / f"a.{ending}"
    sheet([Row(name="r", panels=[Panel(image=torch.rand(3, 4, 4))])], caption="words " * 60, path=place)
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert place.read_bytes().startswith(start)


def test_nothing_is_cut():
    """Every text lies within the figure, whatever its length."""
    long = SimpleNamespace(name="a very long name of a row", label="a label that is far too long for a panel")
    panels = [Panel(image=torch.rand(1, 8, 8), label=long.label)] * 3
    figure = sheet([Row(name=long.name, panels=panels)] * 2, title="a title " * 20, caption="a caption " * 60)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    texts = [
        figure._suptitle,
        figure._supxlabel,
        *(a.title for a in figure.axes),
        *(a.yaxis.label for a in figure.axes),
    ]
    for text in texts:
        if text.get_text():
            box = text.get_window_extent()
            assert min(box.x0, box.y0) >= -1, text.get_text()
            assert max(box.x1 - width, box.y1 - height) <= 1, text.get_text()


def test_no_panel_is_an_error():
    with pytest.raises(InputError, match="one row"):
        sheet([])


def test_the_chart_of_stretch_has_a_bar_and_a_point_for_every_layer():
    layers = tuple(LayerStretch(name=f"l{i}", kind="Linear", norm=i + 1.5, constant=10.0**i) for i in range(3))
    figure = lipschitz_chart(Lipschitz(layers=layers, constant=100.0, pairs=torch.zeros(2, 2)), data="Images 1x4x4.")
    above, below = figure.axes
    assert above.lines[0].get_ydata().tolist() == [1, 10, 100]
    assert [bar.get_height() for bar in below.patches] == [1.5, 2.5, 3.5]
    assert [label.get_text() for label in below.get_xticklabels()] == ["l0", "l1", "l2"]
    assert "to the logits 100. Images 1x4x4." in caption(figure)


def test_parts_are_drawn_on_every_image_and_their_distances_beside_those_of_random_boxes():
    parts = {"eye": [(0, 0, 2, 2), (1, 1, 3, 3)], "nose": [(4, 4, 6, 6), (5, 5, 7, 7)]}
    found = [
        Correspondence(layer, ("eye", "nose"), torch.tensor([[0.1], [0.4]]), torch.tensor([[0.3]] * 5), torch.zeros(1))
        for layer in ("c3", "f6")
    ]
    figure = correspondence_sheet(torch.rand(2, 3, 8, 8), parts, found, labels=["dog", "cat"], data="toys")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["dog", "cat"]
    assert figure.axes[1].lines[0].get_xydata().min(0).tolist() == [0.5, 0.5]
    chart = figure.axes[2]
    assert [label.get_text() for label in chart.get_xticklabels()] == ["c3", "f6"]
    assert [line.get_ydata()[0] for line in chart.lines] == pytest.approx([0.3, 0.1, 0.4] * 2)
    assert [text.get_text() for text in chart.get_legend().get_texts()] == ["random boxes", "eye", "nose"]
    assert "5 sets of boxes of the same sizes at random places. Data: toys." in caption(figure)


def test_blocks_stand_beside_each_other_for_slides():
    def block(name, shade):
        panels = [Panel(image=torch.full((1, 2, 2), shade), label=f"{i}") for i in range(2)]
        return [Row(name=name, panels=panels), Row(name="maps", panels=panels[:1])]

    first, second = beside([*block("clean", 0.2), *block("adversarial", 0.8)], 2)
    assert (first.name, second.name) == ("clean", "maps")
    assert [panel and panel.label for panel in first.panels] == ["0", "1", None, "adversarial: 0", "adversarial: 1"]
    assert [panel and panel.label for panel in second.panels] == ["0", None, "0"]
    assert first.panels[3].image[0, 0, 0] == pytest.approx(0.8)
    figure = sheet([first, second])
    assert [bool(axes.images) for axes in figure.axes] == [
        True,
        True,
        False,
        True,
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(InputError, match="2 blocks of one height, got 3 rows"):
        beside([first, second, first], 2)


def test_a_turned_sheet_has_an_image_in_each_row_and_a_group_in_each_column():
    groups = [
        (name, torch.full((2, 1, 4, 4), shade), torch.eye(2) * k) for name, shade, k in (("a", 0.1, 1), ("b", 0.9, 3))
    ]
    figure = answers_sheet(groups, y=[1, None], classes=["cat", "dog"], turned=True)
    images = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in images] == ["a", "b", "", ""]
    assert [axes.get_ylabel() for axes in images] == ["dog", "", "", ""]
    assert [pixels(axes)[0, 0].item() for axes in images] == pytest.approx([0.1, 0.9, 0.1, 0.9])
    widths = [max(bar.get_width() for bar in axes.patches) for axes in figure.axes if not axes.images]
    assert widths == pytest.approx([torch.tensor([k, 0.0]).softmax(0)[0].item() for k in (1, 3, 1, 3)])


def covered(axes):
    """The numbers of the points of lines that lie under the legend."""
    axes.figure.canvas.draw()
    box = axes.get_legend().get_window_extent()
    points = [
        point
        for line in axes.lines
        for point in line.get_transform().transform(line.get_xydata())
        if box.count_contains([point])
    ]
    return len(points)


@pytest.mark.parametrize("rising", [True, False])
def test_no_legend_lies_on_a_line(rising):
    movement = torch.linspace(0.1, 2, 8)[:, None].expand(8, 5)
    movement = movement if rising else movement.flip(0)
    names = ("input", *(f"features.{i}" for i in range(7)))
    assert not covered(movement_chart(Movement(names, movement, movement * 0.9), title="net").axes[0])
    eps = tuple((i + 1) / 100 for i in range(20))
    error = tuple(0.04 + (0.045 if rising else 0.001) * (i + 1) for i in range(20))
    curves = [
        Curve(name=name, count=100, clean=0.02, eps=eps, error=error, median=None)
        for name in ("one network", "another", "a third")
    ]
    assert not covered(error_curves(curves, title="pgd").axes[0])
