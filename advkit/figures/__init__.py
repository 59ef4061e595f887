"""Pictures, drawn by matplotlib without touching its global state."""

from advkit.figures._charts import error_curves, transfer_table
from advkit.figures._examples import examples

__all__ = ["error_curves", "examples", "transfer_table"]
