"""The start of fine-tuning: copy the weights of another training that fit a network."""

from pathlib import Path

from advkit.core.errors import InputError
from advkit.models._checkpoint import read_weights
from advkit.models._classifier import Classifier
from advkit.models._unwrapping import nearest


def start_from(classifier: Classifier, path: str | Path) -> list[str]:
    """Copy every tensor of a weights file that fits the network by name and shape.

    Args:
        classifier: the network, changed in place.
        path: a file of weights, or the folder of a run.

    Returns:
        The names of the network's tensors that are not changed, such as a last layer of other classes.

    Raises:
        InputError: there is no such file, or it has less than half of the network's tensors.
    """
    found, _ = read_weights(path)
    own = classifier.net.state_dict()
    state = nearest(own, found)
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if 2 * len(fitting) < len(own):
        raise InputError(
            f"{path} does not fit this network: {len(fitting)} of {len(own)} tensors have its name and shape"
        )
    classifier.net.load_state_dict({**own, **fitting})
    return [name for name in own if name not in fitting]
