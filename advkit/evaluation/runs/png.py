"""Adversarial images as PNG files, rounded toward the clean image so that no file exceeds eps."""

import io
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from advkit.data._stream import Batch
from advkit.evaluation.measure.eight_bit import toward
from advkit.evaluation.measure.plan import Plan
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs.digests import of_bytes
from advkit.evaluation.runs.run_folder import Run


def write_pngs(made: Run, batch: Batch, columns: Sequence[Columns], images: list[Tensor], plan: Plan) -> dict[str, str]:
    """Write one file for each image that an attack fooled, `png/ATTACK/ID.png`.

    There is no file for an image that was wrong already, or that no 8-bit file can hold, since x itself is no 8-bit
    image and eps is below one level.

    Returns:
        The digest of each file, by its name in the folder.

    Raises:
        OSError: the disk is full.
    """
    clean, *rows = columns
    digests = {}
    for i, (row, x_adv) in enumerate(zip(rows, images, strict=True)):
        levels, fits = toward(batch.x, x_adv, plan.options["bounds"])
        wanted = row["reached"] & ~clean["clean_wrong"] & fits.cpu()
        for sample in wanted.nonzero().squeeze(1).tolist():
            pixels = levels[sample].cpu().permute(1, 2, 0).numpy()
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            name = f"png/{i}-{plan.all[i].name}/{int(batch.sample_ids[sample]):06d}.png"
            content = io.BytesIO()
            picture.save(content, "PNG")
            made.write_loose(name, content.getvalue())
            digests[name] = of_bytes(content.getvalue())
    return digests
