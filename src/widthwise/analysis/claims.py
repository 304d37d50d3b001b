"""The paper's claims, judged from a study's cells: 1 to 10, 12, 13 and 16 of the list that was fixed before the runs.

The others (11, 14 and 15) need what is measured inside a network, not losses at rates. Every condition stands in
`claims_of_rates`, `claims_of_losses` and `claims_of_epsilon` as it was written down; a claim that a study has no runs
for, or has not finished the runs for, is not run yet.
"""

from collections.abc import Callable
from dataclasses import replace

from widthwise.analysis.claim import ClaimVerdict
from widthwise.analysis.claims_of_epsilon import claim_12, claim_13
from widthwise.analysis.claims_of_losses import claim_4, claim_5, claim_6, claim_7, claim_8, claim_9
from widthwise.analysis.claims_of_rates import claim_1, claim_2, claim_3, claim_10, claim_16
from widthwise.analysis.evidence import Evidence

CLAIMS: tuple[Callable[[Evidence], ClaimVerdict], ...] = (
    claim_1, claim_2, claim_3, claim_4, claim_5, claim_6, claim_7, claim_8, claim_9, claim_10, claim_12, claim_13,
    claim_16,
)  # fmt: skip


def judge_claims(study: Evidence) -> tuple[ClaimVerdict, ...]:
    """Every claim that losses at rates can decide, in the order of the list, with the trials it rests on."""
    _ = study.results  # worked out once for all of them
    return tuple(_judged(claim, study) for claim in CLAIMS)


def _judged(claim: Callable[[Evidence], ClaimVerdict], study: Evidence) -> ClaimVerdict:
    asked = study.afresh()
    verdict = claim(asked)
    return replace(verdict, trials=asked.trials)
