"""What pages download, from this machine: MNIST, a repository of the hub, published weights; and an ONNX file."""

import gzip
import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_digits(place: Path) -> list[Path]:
    """MNIST's four files, with 100 training and 10 test digits of `mnist5k` in place of 60,000 and 10,000."""
    from advkit.data import load_data

    place.mkdir(parents=True)
    data, files = load_data("mnist5k", split="train", pad=0), []
    for part, rows in (("train", slice(100)), ("t10k", slice(100, 110))):
        x, y = data[rows]
        for name, array in (("images-idx3", (255 * x[:, 0]).round()), ("labels-idx1", y)):
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            files.append(place / f"{part}-{name}-ubyte")
            files[-1].write_bytes(head + array.to(torch.uint8).numpy().tobytes())
    return files


@contextmanager
def served(answers: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Files(SimpleHTTPRequestHandler):
    """The files of a folder; nothing is printed."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def mirror_of_mnist(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torchvision find MNIST's packed files here, by address and digest; it gets them with its own code."""
    from torchvision.datasets import MNIST

    resources = []
    for file in write_digits(place):
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    with served(partial(Files, directory=str(place))) as address:
        monkeypatch.setattr(MNIST, "mirrors", [f"{address}/"])
        yield


def cache_torchvision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a SqueezeNet with random weights where torchvision keeps the published ones."""
    from torchvision import models

    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    place = home / "hub" / "checkpoints"
    place.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1().state_dict(), place / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(home))


def write_onnx(path: Path) -> None:
    """A linear network of digits that can be asked for scores."""
    from onnx import TensorProto, helper, numpy_helper, save

    draw = torch.Generator().manual_seed(0)
    weights = numpy_helper.from_array(torch.randn(1024, 10, generator=draw).numpy(), "w")
    nodes = helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])
    model = helper.make_model(
        helper.make_graph(list(nodes), "net", [x], [logits], [weights]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    save(model, str(path))


def write_vit(place: Path, classes: tuple[str, ...]) -> None:
    """A small vision transformer of images of 224 pixels, as `save_pretrained` writes it."""
    import transformers

    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    names = dict(enumerate(classes))
    config = transformers.ViTConfig(**size, image_size=224, patch_size=56, id2label=names)
    transformers.ViTForImageClassification(config).save_pretrained(place)
    form = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224}
    (place / "preprocessor_config.json").write_text(json.dumps(form))


@contextmanager
def hub_of(name: str, place: Path) -> Iterator[str]:
    """The address of a hub with one repository, whose files lie in a folder; it answers what `hf download` asks."""
    files = {file.name: file.read_bytes() for file in sorted(place.iterdir())}
    siblings = [{"rfilename": file} for file in files]
    tree = [
        {"type": "file", "path": file, "size": len(body), "oid": hashlib.sha256(body).hexdigest()}
        for file, body in files.items()
    ]

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, whole: bool) -> None:
            path = self.path.partition("?")[0]
            file = path.rpartition("/")[2]
            if path.startswith(f"/api/models/{name}"):
                said = tree if "/tree/" in path else {"id": name, "sha": COMMIT, "siblings": siblings}
                body = json.dumps(said).encode()
            elif path.startswith(f"/{name}/resolve/") and file in files:
                body = files[file]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if whole:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with served(Answers) as address:
        yield address
