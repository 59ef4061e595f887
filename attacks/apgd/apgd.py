"""APGD, PGD that chooses its own steps: Croce and Hein 2020, algorithm 1 (arXiv 2003.01690).

In l1: Croce and Hein 2021 (arXiv 2103.01208)."""

from dataclasses import dataclass

from advkit.attacks.apgd.schedules import SCHEDULES, State, first_state
from advkit.attacks.parts.random_start import RandomStart
from advkit.core.attack import register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_between, check_count
from advkit.core.oracle import Oracle


@register_attack("apgd")
@dataclass(frozen=True, kw_only=True)
class APGD(RandomStart):
    """Steps with momentum, whose size is halved where the loss stagnates, from the best point seen; nothing to tune.

    l1: sparse steps without momentum, as many entries as the best point has moved, onto ball and range together.

    Cost per sample: `steps` gradients and `steps` + 2 queries, the clean image's and the verdict among them.

    Args:
        steps: the number of steps.
        rho: the step size is kept if at least this share of the steps has raised the loss.
        random_start: whether to begin at a random point on the edge of the ball.
    """

    norms = ("linf", "l2", "l1")
    stays_inside = True
    paper = "Croce and Hein 2020, arXiv 2003.01690"

    steps: int = 100
    rho: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_between("rho", self.rho, 0, 1)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image or at a random point of the ball."""
        return first_state(oracle, oracle.region.far(oracle.draws, step=0) if self.random_start else oracle.x)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Look at x_adv; adapt the step at a checkpoint; z = Proj(x + eta * ascent), and inertia."""
        schedule, region = SCHEDULES[oracle.region.norm.sparse], oracle.region
        loss, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        state = state.updated(loss, gradient)
        x, marks = state.x_adv, schedule.checkpoints(self.steps)
        if i in marks:
            state, back = schedule.adapt(state, region, marks[i], self.rho)
            x, gradient = choose(back, state.x_max, x), choose(back, state.g_max, gradient)
        z = region.step(x, gradient, state.eta, state.share)
        if i and schedule.inertia:
            z = region.project(x.lerp(z, 1 - schedule.inertia).add(x - state.x_last, alpha=schedule.inertia))
        return state._replace(x_adv=z, x_last=x)
