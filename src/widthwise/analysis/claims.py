"""The paper's claims, judged: the list that was fixed before the runs.

Most are judged from losses at rates (`claims_of_rates`, `claims_of_losses`, `claims_of_epsilon`), 11, 14 and 15 from
what is measured inside networks (`claims_of_measurements`). Every condition stands there as it was written down; a
claim that has no runs, or has not finished them, is not run yet.
"""

from collections.abc import Callable
from dataclasses import replace

from widthwise.analysis.claim import ClaimVerdict
from widthwise.analysis.claims_of_epsilon import claim_12, claim_13
from widthwise.analysis.claims_of_losses import claim_4, claim_5, claim_6, claim_7, claim_8, claim_9
from widthwise.analysis.claims_of_measurements import claim_11, claim_14, claim_15
from widthwise.analysis.claims_of_rates import claim_1, claim_2, claim_3, claim_10, claim_16
from widthwise.analysis.evidence import Evidence

CLAIMS: tuple[Callable[[Evidence], ClaimVerdict], ...] = (
    claim_1, claim_2, claim_3, claim_4, claim_5, claim_6, claim_7, claim_8, claim_9, claim_10, claim_11, claim_12,
    claim_13, claim_14, claim_15, claim_16,
)  # fmt: skip


def judge_claims(study: Evidence) -> tuple[ClaimVerdict, ...]:
    """Every claim in the order of the list, with the trials it rests on."""
    _ = study.results  # worked out once for all of them
    return tuple(_judged(claim, study) for claim in CLAIMS)


def _judged(claim: Callable[[Evidence], ClaimVerdict], study: Evidence) -> ClaimVerdict:
    asked = study.afresh()
    verdict = claim(asked)
    return replace(verdict, trials=verdict.trials + asked.trials)
