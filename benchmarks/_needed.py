"""What a script needs that advkit does not install: one line that says so, in place of a traceback."""

from importlib.util import find_spec

DISTRIBUTIONS = {"art": "adversarial-robustness-toolbox", "cv2": "'opencv-python-headless<5'", "adv_lib": "adv-lib",
                 "skimage": "scikit-image"}  # fmt: skip
"""Name that is imported -> name that is installed, where they differ."""


def needed(*packages: str) -> None:
    """End with one line if one of the packages is not installed."""
    missing = [DISTRIBUTIONS.get(name, name) for name in packages if not find_spec(name)]
    if missing:
        raise SystemExit(f"this needs {' and '.join(missing)}: pip install {' '.join(missing)}")
