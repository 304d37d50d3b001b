"""Attention heads that grow with the width: what that does to attention logits, and the rule that changes it.

With heads of a fixed size (more of them at a larger width) attention logits keep their size under any plan. If the
heads themselves grow, d ~ n, then queries and keys that training has aligned give q k ~ d, and dividing by d^(1/2)
leaves logits that grow as n^(1/2). Dividing by d instead is one more factor n^(-1/2) on the query projections; in a
plan it is declared as a forward factor of n^(1/2) too much, and folded into their init and rate.

Source: Yang et al. 2022 (arXiv 2203.03466), definition 4.1.
"""

from widthwise.scaling.description import ModelDescription


def attention_notes(description: ModelDescription) -> tuple[str, ...]:
    """What a plan says of heads that grow, and the rule that divides their logits by d; nothing if none does."""
    if not description.growing_heads:
        return ()
    shown = ", ".join(
        f"{pattern} ({' to '.join(map(str, sizes))})" for pattern, sizes in description.growing_heads.items()
    )
    declared = [t.name for t in description.tensors.values() if t.forward_factor]
    return (
        f"attention heads grow with the width: {shown}. Where the model divides q k by d^(1/2), logits of aligned "
        "queries and keys grow as n^(1/2); to divide by d instead, declare it for the query projections (weight and "
        "bias), "
        'Rule("...q_proj.weight", forward_factor=Fraction(1, 2)): their init and rate then take up n^(-1/2). '
        + (f"Declared: {', '.join(declared)}" if declared else "Declared: nothing"),
    )
