"""Networks in ONNX files, run by ONNX Runtime: `onnx:FILE`. They have no gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from advkit.core.errors import InputError, unknown
from advkit.core.files import user_path
from advkit.core.imported import needed
from advkit.models._black_box import BlackBox
from advkit.models._classifier import Normalize

OPTIONS = ("output", "answers", "num_classes", "channels_last", "cache", "mean", "std", "input_shape")
"""What `onnx:FILE(...)` takes."""

TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
}
"""Type of the file's input -> that of the array."""


COLOURS = (1, 3, 4)
"""Numbers of channels that images have."""


class _Session:
    """A file as a function of NumPy arrays.

    Args:
        path: the ONNX file.
        output: name of the output that counts; None takes the first.
        channels_last: True where the file takes images (N, H, W, C); None refuses a file that seems to.
    """

    def __init__(self, path: Path, output: str | None, channels_last: bool | None) -> None:
        self._session = _opened(path)
        inputs, outputs = self._session.get_inputs(), [found.name for found in self._session.get_outputs()]
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            seen = ", ".join(f"{found.name}: {found.type}" for found in inputs)
            raise InputError(f"expected {path} to take one tensor of images, it takes {seen or 'none'}")
        if output is not None and output not in outputs:
            raise unknown(f"output of {path}", output, outputs)
        self._path, self._name, self.type = path, inputs[0].name, np.dtype(TYPES[inputs[0].type])
        self._output = output or outputs[0]
        self._last = bool(channels_last)
        self.shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        if channels_last is None and len(self.shape) == 4 and self.shape[3] in COLOURS and self.shape[1] not in COLOURS:
            sides = ", ".join("any" if side is None else str(side) for side in self.shape[1:])
            raise InputError(
                f"{path} takes images (N, {sides}), which have their channels last: write "
                f"onnx:{path}(channels_last=True), or channels_last=False if {self.shape[3]} is the width"
            )

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The answers to images (N, C, H, W); a file for batches of one size gets them filled up.

        Raises:
            InputError: the file takes images of another shape or range, or it fails on them.
        """
        count, size = len(images), self.shape[0]
        if size is not None and count < size:
            images = np.concatenate([images, np.repeat(images[:1], size - count, 0)])
        if self._last:
            images = np.moveaxis(images, 1, -1)
        self._check_shape(images.shape)
        typed = np.ascontiguousarray(self.typed(images))
        try:
            answer = self._session.run([self._output], {self._name: typed})[0]
        except Exception as error:  # onnxruntime's own errors, of many types without a common base
            line = str(error).splitlines()[0]
            raise InputError(f"{self._path} cannot answer images {images.shape}: {line}") from error
        return np.asarray(answer)[:count]

    def typed(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the numbers in the type that the file takes, rounded where it takes integers.

        Raises:
            InputError: an integer type cannot hold them.
        """
        whole = images if self.type.kind == "f" else np.rint(images)
        held = np.iinfo(self.type) if self.type.kind != "f" else None
        if held and whole.size and not held.min <= whole.min() <= whole.max() <= held.max:
            raise InputError(
                f"{self._path} takes {self.type}, from {held.min} to {held.max}, and (image - mean) / std goes "
                f"from {whole.min():g} to {whole.max():g}: give other mean= and std=, in units of [0, 1]"
            )
        typed: np.ndarray[Any, Any] = whole.astype(self.type)
        return typed

    def _check_shape(self, seen: tuple[int, ...]) -> None:
        """Raise InputError for images that a file of fixed sizes does not take."""
        wanted = self.shape[1:]
        if len(seen) == len(self.shape) and all(w in (None, s) for w, s in zip(wanted, seen[1:], strict=True)):
            return
        sides = ", ".join("any" if side is None else str(side) for side in wanted)
        turned = len(seen) == 4 and wanted == [*seen[2:], seen[1]] and not self._last
        advice = "give channels_last=True" if turned else "give images of that shape"
        raise InputError(f"{self._path} takes images (N, {sides}), got (N, {', '.join(map(str, seen[1:]))}): {advice}")


def black_box(file: str, options: dict[str, Any]) -> tuple[BlackBox, dict[str, Any]]:
    """Return the file's network and the fields of its card, with a `note` on how images become the file's integers.

    Args:
        file: path of the ONNX file.
        options: options by name: `output`, `answers`, `num_classes` and `cache` as in `BlackBox`, `channels_last`,
            `mean`, `std`, `input_shape`.

    Raises:
        InputError: there is no such file, it is no ONNX file, or the options do not suit it.
    """
    for option in options:
        if option not in OPTIONS:
            raise unknown(f"option of onnx:{file}", option, OPTIONS)
    given = dict(options)
    shape = given.pop("input_shape", None)
    session = _Session(user_path(file), given.pop("output", None), given.pop("channels_last", None))
    known = _statistics(session, given.pop("mean", None), given.pop("std", None))
    box = BlackBox(session, batch_size=session.shape[0], **given)
    known["input_shape"] = shape or _image_shape(session.shape, bool(options.get("channels_last")))
    known["num_classes"] = box.num_classes or _classes(box, known["input_shape"])
    return box, known


def _statistics(session: _Session, mean: Any, std: Any) -> dict[str, Any]:
    """The options of `Normalize`, and a note: bytes are [0, 1] times 255 by default, other integers have no default.

    Raises:
        InputError: the file takes integers that do not hold the normalised images, or hold no more than two of them.
    """
    kind = session.type
    if kind.kind == "f":
        return {"mean": 0.0 if mean is None else mean, "std": 1.0 if std is None else std, "note": ""}
    if kind != np.uint8 and (mean is None or std is None):
        raise InputError(
            f"expected mean= and std= for a file that takes {kind}: images in [0, 1] become round((image - mean) / std)"
        )
    known = {"mean": 0.0 if mean is None else mean, "std": 1 / 255 if std is None else std}
    normalize = Normalize(**known)
    sides = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, len(normalize.mean), 1, 1)
    black, white = session.typed(normalize(sides).numpy())
    if (white.astype(float) - black < 2).any():
        raise InputError(
            f"expected a file that takes {kind} to see shades, got std={std}, which rounds all images to black and "
            "white: std=1/255 gives 256 shades"
        )
    scale = "times 255" if (mean, std) == (None, None) else "normalised by mean and std"
    return {**known, "note": f", on images {scale} and rounded to {kind}"}


def _image_shape(shape: list[int | None], channels_last: bool) -> tuple[int, ...] | None:
    """(C, H, W), if the file says so."""
    sides = [side for side in shape[1:] if side is not None]
    if len(sides) != 3 or len(shape) != 4:
        return None
    return (sides[2], *sides[:2]) if channels_last else tuple(sides)


def _classes(box: BlackBox, shape: tuple[int, ...] | None) -> int | None:
    """The number of logits, by asking about one black image outside all counts; None where no shape is known."""
    if shape is None:
        return None
    answer = box(torch.zeros(1, *shape))
    box.billed = 0
    return int(answer.shape[1])


def _opened(path: Path) -> Any:
    runtime = needed("onnxruntime", "onnx:FILE", "onnx")
    if not path.is_file():
        raise InputError(f"no file {path}: expected onnx:FILE with the path of an ONNX file")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = torch.get_num_threads(), 3
    try:
        return runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors, of many types without a common base
        raise InputError(f"cannot read {path} as an ONNX file: {str(error).splitlines()[0]}") from error
