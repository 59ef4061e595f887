"""The rules that convert tensor operations of torch's ATen to nodes; importing a file registers its rules."""

from advkit.certification.rules import arithmetic as arithmetic
from advkit.certification.rules import bends as bends
from advkit.certification.rules import moves as moves
