"""Weight-decay policies: what a layer's decay becomes when its learning rate scales with the width.

PyTorch's AdamW and SGD shrink the weights by the factor 1 - (rate * decay) a step, so the product counts. A policy says
what the product does with the width; the decay that is handed to the optimizer follows.

| policy | decay handed over | product a step |
|---|---|---|
| `Independent` | decay / rate factor | base rate * decay, at every width |
| `Coupled` | decay | base rate * rate factor * decay |
| `Timescale(steps)` | 1 / (rate * steps) | 1 / steps: weights are an average over the last `steps` updates |

Sources: independent decay transfers where coupled decay does not (arXiv 2510.19093); the timescale (arXiv 2405.13698).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Independent:
    """The product of rate and decay does not change with the width."""

    def decay(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """The decay of a tensor whose rate is learning_rate * rate_factor."""
        return decay / rate_factor

    def product(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """What one step takes off the weights, as a fraction of them: the same at every width."""
        return learning_rate * decay


@dataclass(frozen=True)
class Coupled:
    """The decay does not change with the width, so the product falls with the rate."""

    def decay(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """The decay of a tensor whose rate is learning_rate * rate_factor."""
        return decay

    def product(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """What one step takes off the weights, as a fraction of them: less as the rate falls."""
        return learning_rate * rate_factor * decay


@dataclass(frozen=True)
class Timescale:
    """The weights forget their past over a number of steps, at every width and rate.

    Args:
        steps: at the base learning rate; a schedule that lowers the rate lengthens it.

    Raises:
        ValueError: a timescale below one step.
    """

    steps: float

    def __post_init__(self) -> None:
        if not self.steps >= 1:
            raise ValueError(f"a timescale of {self.steps} steps must be at least 1")

    def decay(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """The decay of a tensor whose rate is learning_rate * rate_factor.

        Raises:
            ValueError: a learning rate of 0, at which no decay has a timescale, or a decay given beside it.
        """
        if decay:
            raise ValueError(
                f"weight_decay={decay} beside a timescale of {self.steps} steps, which sets it; give one"
            )
        if learning_rate == 0:
            raise ValueError("a timescale needs a learning rate above 0: rate times decay is 1 / steps")
        return 1 / (learning_rate * rate_factor * self.steps)

    def product(self, decay: float, *, learning_rate: float, rate_factor: float) -> float:
        """What one step takes off the weights, as a fraction of them: one part in `steps`."""
        return 1 / self.steps


WeightDecay = Independent | Coupled | Timescale

INDEPENDENT = Independent()
COUPLED = Coupled()
