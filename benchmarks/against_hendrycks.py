"""advkit's 15 corruptions beside the authors' own functions, on photographs, with the same random numbers.

    pip install scikit-image 'opencv-python-headless<5' imagecorruptions
    git clone https://github.com/hendrycks/robustness
    python benchmarks/against_hendrycks.py --scripts robustness/ImageNet-C/create_c --photographs FOLDER --count 8

The scripts make_cifar_c.py and make_imagenet_c.py are read, and their functions run with NumPy's random functions
replaced by advkit's numbers. ImageMagick's motion blur, which they call, is that of the package imagecorruptions.
Each line: the table, the kind, the largest difference in grey levels, and the share of values that differ at all.
"""

import argparse
import importlib.util
import io
import math
import os
from pathlib import Path

from _needed import needed

needed("cv2", "scipy", "skimage", "imagecorruptions")

import cv2
import numpy as np
import scipy.ndimage
import scipy.stats
import skimage as sk
import skimage.color
import skimage.filters
import skimage.util
import torch
from PIL import Image

from advkit.core.draws import Draws
from advkit.data.hendrycks import KINDS, corrupt_as_published

SIDES = {"cifar": 32, "imagenet": 224}


def published_functions(scripts: Path) -> dict[str, dict]:
    """Table -> the functions of its script, with what newer libraries call otherwise replaced."""
    return {table: _functions(scripts / f"make_{table}_c.py") for table in SIDES}


def _functions(path: Path) -> dict:
    text = path.read_text()
    body = text[text.index("def disk(") : text.index("# /////////////// End Distortions")]
    start, end = body.index("# Tell Python about the C method"), body.index("# modification of https")
    body = (body[:start] + body[end:]).replace("np.float_", "np.float64").replace("np.fromstring", "np.frombuffer")
    names = {"np": np, "cv2": cv2, "sk": sk, "gaussian": _gaussian, "BytesIO": io.BytesIO, "PILImage": Image}
    names |= {"scizoom": scipy.ndimage.zoom, "map_coordinates": scipy.ndimage.map_coordinates}
    names["MotionImage"] = MotionImage
    exec(body.replace(", mode='L')", ")"), names)
    return names


def _gaussian(x, sigma, multichannel=False, **options):
    return skimage.filters.gaussian(x, sigma=sigma, channel_axis=-1 if multichannel else None, **options)


class MotionImage:
    """Stands for the picture of ImageMagick."""

    def __init__(self, blob):
        self.x = np.asarray(Image.open(io.BytesIO(blob))).astype(np.float64)

    def motion_blur(self, radius, sigma, angle):
        self.x = _motion()(self.x, radius, sigma, angle)

    def make_blob(self):
        file = io.BytesIO()
        Image.fromarray(np.round(self.x).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()


def _motion():
    """The function of imagecorruptions, without its import, which needs what newer SciPy has dropped."""
    spec = importlib.util.find_spec("imagecorruptions")
    text = (Path(spec.submodule_search_locations[0]) / "corruptions.py").read_text()
    part = text[text.index("def getOptimalKernelWidth1D") : text.index("# /////////////// End Corruption Helpers")]
    exec(part, names := {"np": np, "math": math})
    return names["_motion_blur"]


class Numbers:
    """NumPy's random functions, for one image, in the order in which the scripts call them."""

    def __init__(self, kind, draws, shape):
        self.kind, self.draws, self.shape, self.calls = kind, draws, shape, 0

    def _values(self, stream=0):
        height, width, channels = self.shape
        return self.draws.uniform(0, (channels, height, width), stream)[0].permute(1, 2, 0).numpy()

    def normal(self, size=None, loc=0, scale=1):
        height, width, channels = self.shape
        grey = len(size) == 2
        z = self.draws.normal(0, (1 if grey else channels, height, width))[0].permute(1, 2, 0).numpy()
        return loc + scale * (z[..., 0] if grey else z)

    def poisson(self, mean):
        return scipy.stats.poisson.ppf(self._values(), mean)

    def random_noise(self, x, mode, amount):
        hit, white = self._values(0) <= amount, self._values(1) <= 0.5
        return np.where(hit, white.astype(float), x)

    def uniform(self, low, high, size=None):
        step = {"motion_blur": 0, "snow": 1, "fog": self.calls + 1, "elastic_transform": self.calls}[self.kind]
        self.calls += 1
        u = self.draws.uniform(step, tuple(size or ()))[0].numpy()
        return u * (high - low) + low

    def randint(self, low, high=None, size=None):
        call, self.calls = self.calls, self.calls + 1
        if self.kind == "frost":
            return int(self.draws.uniform(call, ())[0] * (low if high is None else high))
        height, width, _ = self.shape
        side = height - 2 * high
        turn, pixel = divmod(call, side * side)
        if pixel == 0:
            self.steps = self.draws.uniform(turn, (height, width, 2))[0].numpy()
        at = height - high - pixel // side, width - high - pixel % side
        return np.floor(self.steps[at] * 2 * high).astype(int) - high


def published(functions, image, kind, severity, sample, frost: Path):
    """What the script makes of image (H, W, 3) of bytes."""
    numbers = Numbers(kind, Draws(0, torch.tensor([sample])), image.shape)
    own = {name: getattr(np.random, name) for name in ("normal", "poisson", "uniform", "randint")}
    noise, here = sk.util.random_noise, Path.cwd()
    os.chdir(frost)
    try:
        for name in own:
            setattr(np.random, name, getattr(numbers, name))
        sk.util.random_noise = numbers.random_noise
        return np.uint8(functions[kind](Image.fromarray(image), severity))
    finally:
        sk.util.random_noise = noise
        for name, function in own.items():
            setattr(np.random, name, function)
        os.chdir(here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripts", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8)
    options = parser.parse_args()
    files = sorted(p for p in options.photographs.rglob("*") if p.suffix in (".png", ".jpg", ".jpeg"))[: options.count]
    for table, functions in published_functions(options.scripts).items():
        side = SIDES[table]
        images = [np.asarray(Image.open(f).convert("RGB").resize((side, side), Image.LANCZOS)) for f in files]
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255
        for kind in KINDS:
            worst, differing = 0, []
            for severity in range(1, 6):
                ours = corrupt_as_published(x, kind, severity, table=table, frost=options.scripts)
                ours = (ours.permute(0, 2, 3, 1) * 255).round().numpy().astype(int)
                for n, image in enumerate(images):
                    theirs = published(functions, image, kind, severity, n, options.scripts)
                    worst = max(worst, int(np.abs(ours[n] - theirs).max()))
                    differing.append(float((ours[n] != theirs).mean()))
            print(f"{table:9} {kind:18} {worst} {np.mean(differing):.4f}", flush=True)


if __name__ == "__main__":
    main()
