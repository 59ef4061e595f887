"""Networks in ONNX files, run by ONNX Runtime: `onnx:FILE`. They have no gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from advkit.core.errors import InputError, unknown
from advkit.core.files import user_path
from advkit.core.imported import needed
from advkit.models._black_box import BlackBox

OPTIONS = ("output", "answers", "num_classes", "channels_last", "cache", "mean", "std", "input_shape")
"""What `onnx:FILE(...)` takes."""

TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
"""Type of the file's input -> that of the array."""


class _Session:
    """A file as a function of NumPy arrays.

    Args:
        path: the ONNX file.
        output: name of the output that counts; None takes the first.
        channels_last: True where the file takes images (N, H, W, C).
    """

    def __init__(self, path: Path, output: str | None, channels_last: bool) -> None:
        self._session = _opened(path)
        inputs, outputs = self._session.get_inputs(), [found.name for found in self._session.get_outputs()]
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            seen = ", ".join(f"{found.name}: {found.type}" for found in inputs)
            raise InputError(f"expected {path} to take one tensor of images, it takes {seen or 'none'}")
        if output is not None and output not in outputs:
            raise unknown(f"output of {path}", output, outputs)
        self._name, self._type = inputs[0].name, TYPES[inputs[0].type]
        self._output = output or outputs[0]
        self._last = channels_last
        self.shape = [side if isinstance(side, int) else None for side in inputs[0].shape]

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The answers to images (N, C, H, W); a file for batches of one size gets them filled up."""
        count, size = len(images), self.shape[0]
        if size is not None and count < size:
            images = np.concatenate([images, np.repeat(images[:1], size - count, 0)])
        if self._last:
            images = np.moveaxis(images, 1, -1)
        images = np.rint(images) if self._type == "uint8" else images
        answer = self._session.run([self._output], {self._name: np.ascontiguousarray(images.astype(self._type))})[0]
        return np.asarray(answer)[:count]


def black_box(file: str, options: dict[str, Any]) -> tuple[BlackBox, dict[str, Any]]:
    """Return the file's network and the fields of its card.

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
    known = {"mean": given.pop("mean", 0.0), "std": given.pop("std", 1.0)}
    shape = given.pop("input_shape", None)
    session = _Session(user_path(file), given.pop("output", None), bool(given.pop("channels_last", False)))
    box = BlackBox(session, batch_size=session.shape[0], **given)
    known["input_shape"] = shape or _image_shape(session.shape, bool(options.get("channels_last")))
    known["num_classes"] = box.num_classes or _classes(box, known["input_shape"])
    return box, known


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
