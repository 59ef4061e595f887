"""Write counts.json: the counts that `advkit models` prints for each network at the paper's size.

`python -m advkit.models._counts`
"""

import json
from pathlib import Path
from typing import Any

from advkit.models._registry import list_models
from advkit.models._summary import counted


def counts(name: str) -> dict[str, Any]:
    """Return the counts of one network, as in the file."""
    found = counted(name)
    return {field: getattr(found, field) for field in ("input_shape", "parameters", "auxiliary", "multiply_adds")}


if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(counts(name))}" for name in list_models()]
    Path(__file__).with_name("counts.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
