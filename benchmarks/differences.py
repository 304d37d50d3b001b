"""Which noise the intervals of loss differences should have: coverage and width of each choice, on curves as measured.

    PYTHONPATH=src python benchmarks/differences.py [--out FILE] [--smoke]

Each study is invented: prescriptions with the curves of `fine_grids.csv`, swept as a study sweeps, one seed first and
the others at its best rate. Every true difference is 0. A seed of a prescription has a part that all prescriptions
share, and one of its own whose size is that of a pair's differences in the one-GPU study (Adam, root mean square over
its pairs of prescriptions: `PAIRED`); three tenths of its variance differ between rates. Of the store only such scatter
was looked at, over all pairs together, before the choice was made: no difference, no claim.

The choices:

    profile            each pair its own variance, in proportion to what all pairs have at each width (the one taken)
    pooled widths      each pair its own variance, the same at all widths (what stood before)
    own                each pair and width its own variance (Welch, Satterthwaite)
    pooled pairs       at each width one variance for all pairs
    moderated          at each width each pair's own, shrunk to what its pairs have there (Smyth 2004)

Rows are of pairs of unlike prescriptions, and of pairs that are nearly one run: the least coverage over the widths, the
largest ratio of the median half-width to the actual error (the ideal is 1.96), and the coverage of the slope over
widths. Prints them and writes `benchmarks/results/differences.json`.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from _record import Row, record_simulation, row
from fine_grids import Curve, read_curves, sweep
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from widthwise.analysis import Observation, fit_table
from widthwise.analysis.difference_noise import common_cells, difference_noise
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.noise import student_quantile
from widthwise.analysis.optimum_loss import LossDifference

PAIRED = {128: 0.0147, 256: 0.0116, 512: 0.0082, 1024: 0.0060}
"""Width -> standard deviation of the difference of two prescriptions' losses over seeds, nats."""
SHARED = {128: 0.014, 256: 0.009, 512: 0.002, 1024: 0.002}
"""Of what all prescriptions have in common."""
OWN = 0.3
STUDIES = 60
PAIRS = 40
SLOPE = 0
"""In the place of a width: the slope over log2 of the widths."""
Parts = Mapping[int, tuple[float, float]]
"""Width -> the variance of one seed's difference and its degrees of freedom."""


@dataclass(frozen=True)
class Scenario:
    """How a study is made and how its seeds scatter.

    Args:
        twins: prescriptions come in so many pairs that are nearly one run; the others are unlike.
        unlike: variance between prescriptions of the logarithm of the scatter's variance.
        persistent: whether a prescription has the same at all widths.
        slope: standard deviation between prescriptions of the scatter's power of the width.
        twin: width -> share of the twins' variance that they have in common.
        tails: degrees of freedom of Student's t; None is normal.
        spread: width -> as `PAIRED`.
        comparisons: that the interval is to hold for at once.
    """

    name: str
    prescriptions: int = 16
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    seeds: int = 3
    twins: int = 0
    unlike: float = 0.0
    persistent: bool = True
    slope: float = 0.0
    twin: tuple[float, ...] = (0.98, 0.98, 0.98, 0.98)
    tails: float | None = None
    spread: Mapping[int, float] | None = None
    comparisons: int = 1


ALIKE = Scenario("16 prescriptions, equal noise")
MEASURED = replace(ALIKE, name="16 prescriptions, noise and twins as measured", twins=4, unlike=1.2)
TWO = Scenario("2 prescriptions, 3 widths, 3 seeds", prescriptions=2, widths=(128, 256, 512))
POLICIES = Scenario("6 policies, 2 widths", prescriptions=6, widths=(256, 1024), twins=1, unlike=1.0)
STEEP = {128: 0.016, 256: 0.011, 512: 0.005, 1024: 0.004}
FLAT = dict.fromkeys(PAIRED, 0.008)
SCENARIOS = (
    ALIKE,
    MEASURED,
    replace(MEASURED, name="the same, heavy tails (t of 3)", tails=3.0),
    replace(MEASURED, name="the same, noise falls unevenly with the width", spread=STEEP),
    replace(MEASURED, name="the same, noise of all widths alike", spread=FLAT),
    replace(ALIKE, name="16 prescriptions, unlike noise drawn anew at each width", unlike=1.0, persistent=False),
    replace(MEASURED, name="16 prescriptions, each its own power of the width", slope=0.35),
    replace(ALIKE, name="16 prescriptions, twins that part as widths grow", twins=4, twin=(0.98, 0.75, 0.5, 0.3)),
    TWO,
    replace(TWO, name="2 prescriptions, 3 widths, 2 seeds", seeds=2),
    replace(TWO, name="2 prescriptions, 3 widths, 3 seeds, heavy tails", tails=3.0),
    replace(TWO, name="2 prescriptions, 3 widths, 3 seeds, noise falls unevenly", spread=STEEP),
    replace(TWO, name="2 near twins, 3 widths, 3 seeds", twins=1),
    Scenario("4 prescriptions, 4 widths, 2 seeds", prescriptions=4, seeds=2),
    Scenario("32 prescriptions, 2 widths", prescriptions=32, widths=(256, 1024), twins=8, unlike=1.2),
    POLICIES,
    replace(POLICIES, name="6 policies, 2 widths, each of 20 comparisons at once", comparisons=20),
    replace(POLICIES, name="6 policies, 2 widths, equal noise, each of 20 comparisons at once", twins=0, unlike=0.0,
            comparisons=20),
)  # fmt: skip


def observations(
    rng: np.random.Generator, design: Scenario, curves: Sequence[Curve]
) -> Iterator[Observation]:
    """One study; prescriptions 2k and 2k + 1 are twins for k below their number."""
    family = [p // 2 if p // 2 < design.twins else 1000 + p for p in range(design.prescriptions)]
    scale = {f: np.exp(0.5 * math.sqrt(design.unlike) * rng.standard_normal()) for f in family}
    power = {f: design.slope * rng.standard_normal() for f in scale}
    shape = {
        f: (curves[rng.integers(len(curves))], rng.uniform(-8.5, -7.5), rng.uniform(-1, 0.2)) for f in scale
    }

    def draw(*size: int) -> np.ndarray:
        z = rng.standard_normal(size)
        if design.tails is None:
            return z
        nu = design.tails
        return z / np.sqrt(rng.chisquare(nu, size) / nu) * math.sqrt((nu - 2) / nu)

    for index, width in enumerate(design.widths):
        everyone = SHARED[width] * draw(design.seeds)
        if not design.persistent:
            scale = {f: np.exp(0.5 * math.sqrt(design.unlike) * rng.standard_normal()) for f in scale}
        of = {
            f: (draw(design.seeds), defaultdict[tuple[float, int], float](lambda: float(draw(1)[0])))
            for f in scale
        }
        for p, f in enumerate(family):
            share = design.twin[index] if family.count(f) > 1 else 0.0
            size = scale[f] * (design.spread or PAIRED)[width] / math.sqrt(2)
            size *= 2 ** (power[f] * (index - (len(design.widths) - 1) / 2))
            own_S, (family_S, at_rate) = draw(design.seeds), of[f]

            def noise(x: float, seed: int, *, own_S: np.ndarray = own_S, family_S: np.ndarray = family_S,
                      at_rate: dict[tuple[float, int], float] = at_rate, share: float = share, size: float = size,
                      everyone: np.ndarray = everyone) -> float:  # fmt: skip
                mine = math.sqrt(1 - OWN) * own_S[seed] + math.sqrt(OWN) * draw(1)[0]
                theirs = math.sqrt(1 - OWN) * family_S[seed] + math.sqrt(OWN) * at_rate[x, seed]
                return float(
                    everyone[seed] + size * (math.sqrt(share) * theirs + math.sqrt(1 - share) * mine)
                )

            curve, start, exponent = shape[f]
            best = start + exponent * index
            yield from sweep(f"p{p:02}", width, curve, best, fine=0.5, noise=noise, seeds=design.seeds)


Compared = Mapping[int, LossDifference]


def pooled_widths(own: Compared) -> Parts:
    freedom = sum(one.freedom for one in own.values())
    sigma_2 = sum(one.squares for one in own.values()) / freedom
    return dict.fromkeys(own, (sigma_2, math.inf)) | {SLOPE: (0.0, freedom)}


def own_widths(own: Compared) -> Parts:
    return {w: (one.squares / one.freedom, one.freedom) for w, one in own.items()}


def pooled_pairs(every: Sequence[Compared], prescriptions: int) -> Parts:
    """Twice the variance of residuals about the prescriptions' and the seeds' means, which is the mean over pairs."""
    found: dict[int, tuple[float, float]] = {}
    for width in every[0]:
        at = [own[width] for own in every if width in own]
        freedom = sum(one.freedom for one in at)
        found[width] = (sum(one.squares for one in at) / freedom, (prescriptions - 1) * freedom / len(at))
    return found


def moderated(own: Compared, prior: Parts) -> Parts:
    return {
        w: (
            (prior[w][1] * prior[w][0] + one.squares) / (prior[w][1] + one.freedom),
            prior[w][1] + one.freedom,
        )
        for w, one in own.items()
    }


def priors(every: Sequence[Compared]) -> Parts:
    """s_0^2 and d_0 of Smyth's model, by the moments of the logarithms."""
    found: dict[int, tuple[float, float]] = {}
    for width in every[0]:
        at = [own[width] for own in every if width in own and own[width].squares > 0]
        if len(at) < 3:  # nothing to shrink to
            found[width] = (0.0, 0.0)
            continue
        h = np.array([one.freedom / 2 for one in at])
        e = np.log([one.squares / one.freedom for one in at]) - digamma(h) + np.log(h)
        beyond = float(e.var(ddof=1) - polygamma(1, h).mean())
        half = (
            brentq(lambda y, beyond=beyond: float(polygamma(1, y)) - beyond, 1e-2, 1e4)
            if 1e-3 < beyond < 1e3
            else 1e4
        )
        found[width] = (math.exp(e.mean() + digamma(half) - math.log(half)), 2 * half)
    return found


def plain_half(own: Compared, weights: Mapping[int, float], parts: Parts, level: float) -> float:
    """By Satterthwaite over independent widths; with the shape's part, as the one taken has it."""
    found = [(weights[w] ** 2 * one.factor * parts[w][0], parts[w][1]) for w, one in own.items()]
    total = math.fsum(v for v, _ in found)
    shape = abs(math.fsum(weights[w] * one.shape for w, one in own.items()))
    if total == 0:
        return shape
    freedom = parts[SLOPE][1] if SLOPE in parts else 1 / math.fsum((v / total) ** 2 / nu for v, nu in found)
    return student_quantile(level, freedom) * math.sqrt(total) + shape


Found = dict[tuple[str, str, int], list[tuple[float, float]]]
"""(choice, twins or unlike, width) -> error and half-width of every interval."""


def measure(design: Scenario, curves: Sequence[Curve], studies: int) -> Found:
    """Every choice on the same studies."""
    rng = np.random.default_rng(11)
    level = 1 - 0.05 / design.comparisons
    found: Found = defaultdict(list)
    for _ in range(studies):
        table = fit_table(list(observations(rng, design, curves)))
        noise = difference_noise(table.prescriptions.values())
        names = list(table.prescriptions)
        every = {
            (a, b): {
                w: first.less(second)
                for w, (first, second) in common_cells(table.prescriptions[a], table.prescriptions[b]).items()
            }
            for a, b in combinations(names, 2)
        }
        whole = {pair: own for pair, own in every.items() if len(own) == len(design.widths)}
        if not whole:
            continue
        together, prior = (
            pooled_pairs(list(whole.values()), design.prescriptions),
            priors(list(whole.values())),
        )
        twins = {(names[2 * k], names[2 * k + 1]) for k in range(design.twins)}
        others = [pair for pair in whole if pair not in twins]
        some = rng.permutation(len(others))[:PAIRS].tolist()
        for pair in [*(p for p in whole if p in twins), *(others[k] for k in some)]:
            own, kind = whole[pair], "near twins" if pair in twins else "unlike pairs"
            choices = {
                "pooled widths": pooled_widths(own), "own": own_widths(own), "pooled pairs": together,
                "moderated": moderated(own, prior),
            }  # fmt: skip
            slope = dict(zip(own, slope_weights(tuple(own)).tolist(), strict=True))
            for width in (*own, SLOPE):
                weights = slope if width == SLOPE else {w: float(w == width) for w in own}
                error = math.fsum(weights[w] * one.mean for w, one in own.items())
                taken = noise.variance(own, weights)
                assert taken is not None
                shape = abs(math.fsum(weights[w] * one.shape for w, one in own.items()))
                half = student_quantile(level, taken[1]) * math.sqrt(taken[0]) + shape
                found["profile", kind, width].append((error, half))
                for choice, parts in choices.items():
                    found[choice, kind, width].append((error, plain_half(own, weights, parts, level)))
    return found


def all_rows(studies: int) -> Iterator[Row]:
    """Every scenario; the baseline is what stood before, pooled over widths."""
    curves = read_curves()
    for design in SCENARIOS:
        few = max(1, 16 // design.prescriptions)
        found = measure(design, curves, studies * few)
        level = 1 - 0.05 / design.comparisons
        for kind in ("unlike pairs", "near twins"):
            results: dict[str, tuple[float, float, float]] = {}
            for choice in ("pooled widths", "profile", "own", "pooled pairs", "moderated"):
                at = {w: np.array(found[choice, kind, w]) for w in (*design.widths, SLOPE)}
                if not len(at[SLOPE]):
                    continue
                covered = {w: float((np.abs(a[:, 0]) <= a[:, 1]).mean()) for w, a in at.items()}
                wide = [
                    float(np.median(at[w][:, 1]) / np.sqrt((at[w][:, 0] ** 2).mean())) for w in design.widths
                ]
                results[choice] = (min(covered[w] for w in design.widths), covered[SLOPE], max(wide))
            for choice, values in results.items():
                named = (
                    "least coverage over widths",
                    "coverage of the slope",
                    "largest half-width over error",
                )
                for what, value, before in zip(named, values, results["pooled widths"], strict=True):
                    wanted = f">= {level - 0.02:.4g}" if choice == "profile" and "coverage" in what else None
                    yield row(
                        f"{design.name}; {kind}; {choice}; {what}", round(value, 4),
                        "fraction" if "coverage" in what else "times", round(before, 4), None, wanted,
                    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the table and write it."""
    record_simulation("differences", __doc__, all_rows, arguments, studies=STUDIES, smoke=1)


if __name__ == "__main__":
    main()
