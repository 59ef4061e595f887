"""Networks of the hub by their config.json: transformers' image classifiers and timm's. No code of the hub is run."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.imported import needed
from advkit.core.outputs import Output
from advkit.core.words import cause, harmless
from advkit.models._hub import CONFIG, PREPROCESSOR, Snapshot
from advkit.models._hub_images import flips_channels, preprocessing
from advkit.models._registry import seeded

OPTIONS = ("mean", "std", "input_shape")
"""Options that `hf:ORG/NAME` takes; the config says the rest."""

HUB = "this network of the hub"

_NOT_FROM_A_FILE = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "model_name",
)

State = dict[str, Tensor]


class BlueFirst(nn.Module):
    """A network that takes its channels in the other order.

    Args:
        net: the network.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits of x (N, C, H, W), red first."""
        logits: Tensor = self.net(x.flip(1))
        return logits


def hub_network(
    found: Snapshot, seed: int | None, options: Mapping[str, Any], state: State | None = None
) -> tuple[nn.Module, dict[str, Any], str]:
    """Build the network of a snapshot; return it, the fields of its card, and a note on unused weights.

    Args:
        found: the files.
        seed: seed of the random weights.
        options: `mean`, `std` and `input_shape`, which count before the preprocessor's.
        state: the weights; None for random ones. A network of timm gets them later, under its own names.

    Raises:
        InputError: the config describes no image classifier of transformers or timm, or the weights do not fit.
    """
    config = found.json(CONFIG) or {}
    extra = set(options) - set(OPTIONS)
    if extra:
        raise InputError(f"{found.name} takes no option {sorted(extra)[0]!r}: its {CONFIG} says what it is")
    if "architecture" in config:
        net, known = _timm(found, config, seed, options)
        return net, known, ""
    return _transformers(found, config, seed, options, state)


def is_timm(found: Snapshot) -> bool:
    """Return whether the snapshot is a network of timm."""
    return "architecture" in (found.json(CONFIG) or {})


def _timm(
    found: Snapshot, config: Mapping[str, Any], seed: int | None, options: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    timm = needed("timm", HUB, "timm")
    entry, published = config["architecture"], config.get("pretrained_cfg", config)
    arguments = config.get("model_args", {})
    if not isinstance(published, Mapping) or not isinstance(arguments, Mapping):
        raise InputError(f"{CONFIG} of {found.name} is not one of timm")
    if not isinstance(entry, str) or not timm.is_model(entry):
        raise InputError(f"timm {timm.__version__} has no network {entry!r}, which {found.name} is")
    reserved = [key for key in arguments if key in _NOT_FROM_A_FILE]
    if reserved:
        raise InputError(f"{CONFIG} of {found.name} sets {reserved[0]}, which a file must not choose")
    arguments = {"num_classes": config.get("num_classes", published.get("num_classes")), **arguments}
    net = _built(found, lambda: timm.create_model(entry, pretrained=False, **arguments), seed)
    channels = getattr(net, "in_chans", None) or (published.get("input_size") or (3,))[0]
    as_preprocessor = {
        "image_mean": published.get("mean"),
        "image_std": published.get("std"),
        "size": list(published.get("input_size") or ())[1:],
    }
    known = preprocessing(as_preprocessor, channels, options)
    return net, {**known, "num_classes": getattr(net, "num_classes", None), "licence": published.get("license")}


def _transformers(
    found: Snapshot, config: Mapping[str, Any], seed: int | None, options: Mapping[str, Any], state: State | None
) -> tuple[nn.Module, dict[str, Any], str]:
    kind, described = _config(found, config)
    channels = int(getattr(described, "num_channels", 3))
    preprocessor = found.json(PREPROCESSOR)
    if preprocessor is None and not {"mean", "std"} <= options.keys():
        raise InputError(f"{found.name} has no {PREPROCESSOR} here: give mean= and std= of the images it takes")
    known = preprocessing(preprocessor or {}, channels, options)
    known["num_classes"] = int(described.num_labels)
    said = ""
    with _silence():
        if state is None:
            net = _built(found, lambda: kind._from_config(described), seed)
        else:
            net, said = _filled(found, kind, described, state)
    net = Output(net.float(), "logits")
    return (BlueFirst(net) if flips_channels(preprocessor or {}) else net), known, said


def _config(found: Snapshot, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class of the network in transformers, and its configuration."""
    transformers = needed("transformers", HUB, "transformers")
    listed = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    for key in ("auto_map", "quantization_config"):
        if key in config:
            what = "code of its own, which is never run" if key == "auto_map" else "quantised weights"
            raise InputError(
                f"{found.name} has {what} ({key} in its {CONFIG}): build it yourself, package.module:factory"
            )
    name = config.get("model_type")
    if not isinstance(name, str) or name not in listed:
        raise InputError(f"transformers {transformers.__version__} knows no model_type {name!r} ({found.name})")
    kinds = transformers.AutoModelForImageClassification._model_mapping
    if listed[name] not in kinds:
        raise InputError(f"{found.name} is {name!r}, of which transformers has no image classifier")
    described = _built(found, lambda: listed[name].from_dict(_plain(config)), None)
    several = kinds[listed[name]]
    several = several if isinstance(several, tuple) else (several,)
    named = config.get("architectures") or ()  # of DeiT and LeViT there are two, one of them distilled
    return next((kind for kind in several if kind.__name__ in named), several[0]), described


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what chooses an implementation (some are fetched) or what is answered beside logits."""
    dropped = ("attn_implementation", "_attn_implementation", "use_pretrained_backbone", "torch_dtype", "dtype")
    answers = {"return_dict": True, "output_attentions": False, "output_hidden_states": False}
    kept = {key: _plain_part(value, dropped) for key, value in config.items() if key not in dropped}
    return {**kept, **answers}


def _plain_part(value: Any, dropped: tuple[str, ...]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _plain_part(part, dropped) for key, part in value.items() if key not in dropped}


def _filled(found: Snapshot, kind: Any, described: Any, state: State) -> tuple[nn.Module, str]:
    """The network with these weights; transformers renames what older versions called otherwise."""

    def build() -> tuple[nn.Module, Mapping[str, Any]]:
        made: tuple[nn.Module, Mapping[str, Any]] = kind.from_pretrained(
            None, config=described, state_dict=state, output_loading_info=True
        )
        return made

    net, told = _built(found, build, 0)
    missing = [*told.get("missing_keys", ()), *told.get("mismatched_keys", ())]
    if missing:
        name = missing[0] if isinstance(missing[0], str) else missing[0][0]
        raise InputError(
            f"the weights of {found.name} do not fit its {CONFIG}: they lack {harmless(name)}{_more(missing)}"
        )
    extra = sorted(map(str, told.get("unexpected_keys", ())))
    return net, harmless(f"left out {extra[0]}{_more(extra)}") if extra else ""


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _built(found: Snapshot, build: Callable[[], Any], seed: int | None) -> Any:
    """What a foreign library makes of a file; whatever it raises is the file's fault, in one line."""
    try:
        return seeded(build, seed)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{CONFIG} of {found.name} describes no network that can be built: {cause(error)}") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Transformers' log and bars are off within: what is missing is our error, what is left out is on the card."""
    logging = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
