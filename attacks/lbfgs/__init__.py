"""L-BFGS: the attack, the minimisation in a box, its inverse Hessian, and the search for c."""

from advkit.attacks.lbfgs.lbfgs import LBFGS

__all__ = ["LBFGS"]
