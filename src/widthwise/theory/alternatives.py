"""Whether an optimum is the only one: the two ends of the optimal face along a generic direction."""

import random

from widthwise.theory.linear_program import LinearProgram
from widthwise.theory.solution import TIE_BREAKS, Solution

LARGEST_WEIGHT = 1 << 20


def is_unique(solution: Solution) -> bool:
    """Whether the preferred sums alone determine every rate. See `Solution.unique`."""
    certificate, program = solution.certificate, solution.certificate.program
    preferred = program.costs[:-TIE_BREAKS]
    rates = [index for (symbol, _), index in solution.conditions.variables.items() if symbol == "c"]
    if certificate.determines(rates, stages=len(preferred)):
        return True
    from widthwise.theory.highs import UNBOUNDED, NoVertexError, solve_with_highs

    draw = random.Random(0)
    direction = {index: draw.randint(1, LARGEST_WEIGHT) for index in rates}
    here = sum(weight * certificate.point[index] for index, weight in direction.items())
    for sign in (1, -1):
        cost = {index: sign * weight for index, weight in direction.items()}
        try:
            other = solve_with_highs(LinearProgram(program.variables, program.rows, (*preferred, cost)))
        except NoVertexError as error:
            if error.status == UNBOUNDED:
                return False
            raise
        if sum(weight * other.point[index] for index, weight in direction.items()) != here:
            return False
    return True
