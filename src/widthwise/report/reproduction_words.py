"""The words of the page that stands beside the paper: how claims are judged, what tables show, how to redo them."""

JUDGED = """\
The claims and the condition of each were written down before any of these runs, and no run is made again until a
claim holds. A condition **holds** when its whole 95 % interval meets it, **does not hold** when its whole interval
contradicts it, and is otherwise **not decidable at this scale**. A claim of several conditions holds if all do, and
does not hold if one does not. Only prescriptions count that have finished all of their widths: a claim that needs
another is **not run yet**.

A *prescription* is an optimizer, a parameterization and how rates are given to layers; it and a width are a *cell*. The
best rate of a cell is the minimum of a parabola through the losses within an octave of the lowest, up to the first
above 1.2 times it, where training breaks down; a sweep that found no worse rate on both sides has none, nor has one
whose next rate diverged with any seed, and what needs it is not decidable. The best loss is the minimum of a parabola
through the nearest rates alone, moved to the mean of all seeds that trained at the best of them; two prescriptions are
compared seed by seed. Losses are held-out cross-entropies in nats a token. The noise is that of the study's own seeds:
of best rates pooled over the cells of an optimizer, of a difference of losses that pair's own, in proportion to what
all pairs of the optimizer's prescriptions have at each width. Either interval covers the fit's shape too.
[The last section](#how-to-recompute-the-numbers) has the formulas.

*Trials* are the runs of the prescriptions that a claim rests on, those that diverged included; for claims 11 and 14
they are small measurements of their own, as is the start of claim 15."""

EXPONENTS = """\
The slope of log2(best rate) over log2(width), with its 95 % interval, over the widths that have a best rate. `global`:
one rate for all layers; `full`, `mid`, `none`: rates per layer, as theory has them where updates and activations are
fully aligned, between, and not aligned. Theory's columns say how the best rate goes if alignment is what they name.
`adam-ps` is Adam with parameter scaling; where no epsilon is named it is the study's. At the base width all kinds of
rates are one run, and prescriptions whose runs are equal elsewhere too have equal numbers. The paper's are its two
fits."""

LOSSES = """\
Best losses, nats a token, ± half of a 95 % interval from the scatter of seeds, pooled over the optimizer's cells of
that width. Such intervals are of single losses: the same seeds and batches are behind all columns, so differences
between columns are surer than these say (claims 4, 6, 8). "≤": no best rate; the lowest loss of a rate at which no seed
diverged, one seed's where others did not run it. "—": not run. Runs of equal recipes are one, and so are their losses.
The paper's rows are of other text and another vocabulary: their order compares, their level does not."""

METRICS = """\
Three laws over the widths n (Kalra and Barkeshli, arXiv 2605.21486; three widths with a best rate or more): loss =
floor + A n^(-alpha), best rate ~ n^(-beta), curvature of the loss in the rate ~ n^gamma. **E** is by how much they miss
the fitted losses within an octave of the best rate, root mean square relative to the loss. **kappa** = alpha - 2 beta +
gamma: below 0 the cost of a wrong rate fades against what is left to lose as models widen, above 0 it grows. **R(inf)**
is the floor less that of the prescription where it is lowest, of those whose fit is nowhere at a bound. Intervals are
95 %, by resampling seeds and fits; a resampled table has noise twice, so E's is its square more or less by how far the
resampled squares' upper percentile lies above their median, and ends at 0."""

RECOMPUTED = """\
The stores are SQLite files. A cell's losses are `trial.validation_loss` of the trials that table `cell` names; a
trial without one diverged. With `x` = log2(rate), `y` the mean loss over the seeds that ran the most rates of the
cell, and `b` the rate of lowest `y` among those at which no seed diverged:

- **Best rate** `X`: rates count up to the first above `b` at which a seed diverged. A parabola by least squares
  through the rates within 1 octave of `b`; beside it a cubic through the same, at least two each side where there are
  two and four in all. From its far end a side loses rates as long as one of them is above 1.2 `y_b`, and 3 points
  (the cubic: 4) and both neighbours of `b` are left. `X` is the parabola's minimum, `D` what it has more than the
  cubic's. No best rate: `b` is at an end, a fit has no minimum inside its rates, or `y_b` is above 1.2 `m` (`m`
  below).
- **Noise of best rates**, of all distinct cells of an optimizer: `sigma^2 = s^2 mean |dX/dy|^2`, `s^2` the variance
  between seeds at one rate of the parabola, pooled with `nu` degrees of freedom; `tau^2` the variance of `D` over
  cells. A sum of `w X` (equal runs joined) has the variance `(sigma^2 + tau^2) sum w^2`, Satterthwaite's degrees of
  freedom of both parts, and an interval no narrower than `sigma` alone gives and no wider than that and `sum |w D|`.
  Exponents and their differences are such sums (claims 1 to 3).
- **Best loss** of a seed: its loss at `b`, more by `m - y_b`, `m` the minimum of a parabola through `b` and the rates
  within half an octave, at least its neighbours. With `S` seeds, and `G` the weights of `y` in `m` less 1 at `b`,
  their mean's variance is `f` times a seed's, `f = 1/S + |G|^2 + 2 G_b/S`. The pooled variance of a width's cells
  times `f` gives the ± of the table of losses.
- **Differences of losses** (claims 4, 6, 8, 12, 13) are taken seed by seed. A pair's variance at a width is `rho v`,
  with `rho = sum_w (Q/v) / N` and `v = sum_p (Q/rho) / sum_p nu` over all pairs of the optimizer's prescriptions
  (claims 12 and 13: of the six policies of that parameterization) with common seeds at two widths; `Q` and `nu` are a
  pair's sum of squares and degrees of freedom at a width, `N` its `nu` of all widths. A sum of `c` times differences
  has `s^2 = rho sum_w c^2 f v`, `f` the mean of both, and `1/nu = 1/N + sum_w (a - nu/N)^2 / M`: `a` a width's share
  of `s^2`, `M` 2 less than twice its distinct runs (three seeds). Half the interval is `t s` and by how much the sum
  of `c m` lies off that of the cubics' minima (`analysis/difference_noise.py`). Where all common seeds, two or more,
  have equal losses at both `b`, two names are one run there: no noise, no `nu`.
- **Loss given up** (claim 3): the largest width's curve at the base width's `X`, over its minimum, less 1; the
  interval is the curve's extremes over that of the difference of both `X`, and its own noise (`analysis/regret.py`).
- **Claim 9**: the spread is the root of the pooled variance of a seed's best loss; the ratio has Fisher's interval at
  `(sum Q)^2 / sum (Q^2/nu)` degrees of freedom, `Q` a cell's sum of squares (`analysis/spread_ratio.py`). Rises go
  from one width with a best rate to the next, each width with its pooled variance, at a joint level over all of
  SGD's.
- **Claim 10**: log2 of the edge less `X`, at the largest width. The edge is half-way between the largest stable rate
  and the next; its interval is from the one to the other, widened by that of `X`; full less none is subtracted end by
  end.
- **Claims 12 and 13**: a policy's loss less each other's, each at the level 1 - 0.05/k; k is 5 others, or 4
  constants, and twice that where two widths, or the two excesses of a difference, are behind the number. The excess
  and both its ends are the largest of these, and of 0 where the policy is one of the others.
- **Claim 15**: log gains are `alpha` of table `alignment`, of the runs at `b`, mean over the measured steps; their
  slope over ln(width) has the interval of `analysis/width_slope.py`. "For some" is at a joint level over all of them.

Joint levels are Bonferroni's. Where more than one seed ran all of a sweep, noises are of the seeds' own fits instead
(`analysis/noise.py`)."""
