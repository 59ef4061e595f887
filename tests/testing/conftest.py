"""What must be imported before pytest runs in this process forget what they imported."""

import torch._dynamo  # noqa: F401  # it registers operators, and cannot be imported twice
