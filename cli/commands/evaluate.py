"""`advkit evaluate`: its options."""

from typing import Any

import click

from advkit.cli._many import ManyCommand, many
from advkit.cli._options import Eps, Name, UserPath, shared
from advkit.cli._perform import perform


@click.command(cls=ManyCommand)
@click.option(
    "--model",
    type=Name("model"),
    help="A network (advkit models), torchvision:NAME, onnx:FILE, package.module:factory, or a file of advkit train.",
)
@shared("weights", "data", "split", "data-root", "download", "classes")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize",
    type=click.IntRange(min=1),
    help="Scale the shorter side of an image to this, then cut out the centre. [--image-size]",
)
@click.option("--count", type=int, metavar="N", help="Take N images, a fixed random choice. [all]")
@many(
    "--attacks",
    "--attack",
    "attacks",
    text='Names or specs: fgsm "pgd(eps=8/255, steps=40)"; "none" for the clean error alone. [fgsm pgd]',
    kind=Name("attack"),
)
@click.option("--eps", type=Eps(), help="Radius of the attacks that name none. [linf: .1, l2: 1, l1: 10]")
@shared("target", "goal", "verdicts")
@click.option(
    "--stop",
    type=click.Choice(["fooled", "never"]),
    default="fooled",
    show_default=True,
    help="Leave an image at its first adversarial point, or go on to the strongest.",
)
@shared("seed")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=250, show_default=True, help="Number of images in a batch."
)
@click.option("--output", type=UserPath(), metavar="DIR", help="Folder of the run. [none is kept]")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder, if there is one.")
@click.option("--no-images", is_flag=True, help="Keep no images in the run.")
@click.option("--png", is_flag=True, help="Also write adversarial images as PNG, rounded toward the clean ones.")
@click.option("--shard", metavar="I/N", help="Do this share of the batches, such as 3/16; advkit merge joins them.")
@click.option("--checks/--no-checks", default=True, help="Look for signs that the figures mislead. [yes]")
@click.option(
    "--surrogate",
    type=Name("model"),
    metavar="MODEL",
    help="Another network for these images, for a check by transfer.",
)
@click.option(
    "--corruptions", is_flag=True, help="Measure the error under noise, blur, rotation, ... at 5 severities, too."
)
@click.option(
    "--corrupted",
    metavar="SET",
    help="In place of --corruptions: a published set (mnist_c, cifar10_c, cifar100_c, imagenet_c), or the 15 published "
    'corruptions made from the images: hendrycks, "hendrycks(severities=3)", fog:3.',
)
@click.option(
    "--certify",
    metavar="METHOD",
    help='Also certify every image, which bounds the error from above: crown, ibp or a spec such as "crown(eps=.1)".',
)
@click.option("--crops", type=click.Choice(["1", "5", "10", "50"]), help="Average over crops of the network's size.")
@click.option("--scales", metavar="Q,Q", help="Scale the shorter side to each of these first, such as 256,288. [as is]")
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Evaluate a model under several attacks: each error with its interval, and the worst case over all.

    With --output each finished batch is kept: after a crash or Ctrl-C the same command with --resume continues.
    torchrun -m advkit evaluate ... --output DIR distributes the batches over processes; the rows are the same.

    \b
    advkit evaluate --model lenet5 --attacks "fgsm(eps=.1)" "pgd(eps=.1, steps=40)" --output runs/lenet5
    """
    perform("evaluate", options)
