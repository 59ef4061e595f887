"""Every training loss on two processes: the gradients are the mean of the plain formula's over both halves."""

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = """
import gc, os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from advkit.testing._defense import batch, gradients_of, networks
from advkit.testing._formulas import FORMULAS
sys.path.insert(0, os.environ["TESTS"])
from test_check_defense import LOSSES
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
x, y = batch(8)
far = {}
for name, loss in LOSSES.items():
    model = DistributedDataParallel(networks()["a convolutional network"])
    torch.manual_seed(7)
    found = gradients_of(loss(model, x[rank::2], y[rank::2]), model)
    expected = {}
    for half in range(2):
        rival = networks()["a convolutional network"]
        torch.manual_seed(7)
        value = FORMULAS[loss.name](loss)(rival, x[half::2], y[half::2])
        for key, g in (value[1] if isinstance(value, tuple) else gradients_of(value, rival)).items():
            expected[key] = expected.get(key, 0) + g / 2
    far[name] = max(float((found["module." + k] - g).abs().max()) for k, g in expected.items())
torch.save(far, f"{folder}/{rank}.pt")
del model, found
gc.collect()  # a network that holds the group while Python ends would abort the process
dist.destroy_process_group()
"""


def test_every_loss_has_the_plain_formulas_gradients_on_two_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "TESTS": str(Path(__file__).parent), "GLOO_SOCKET_IFNAME": "lo"}
    commands = [[sys.executable, "-W", "ignore", "-c", SCRIPT, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=3600) for process in processes] == [0, 0]
    for rank in range(2):
        far = torch.load(tmp_path / f"{rank}.pt")
        assert {name: distance for name, distance in far.items() if distance > 1e-10} == {}
