"""Hugging Face's GPT-2, whose embedding and readout are one tensor: tune at width 32, train at width 128.

    python examples/gpt2.py
    python examples/gpt2.py --width 512 --steps 300

A tied tensor must start at the same size at every width, as an embedding, and would then make logits that grow with the
width, as a readout. The plan lets the gain and bias of the final norm, `ln_f`, carry the readout's factor: see their
rows in the table. docs/plans.md derives it.
"""

from functools import cache

import torch
from language_model import CONTEXT, VOCABULARY, train, tune_and_scale
from transformers import GPT2Config, GPT2LMHeadModel

from widthwise import ADAM, FULL, STANDARD, ScalingPlan, make_plan


def build(width: int) -> GPT2LMHeadModel:
    """A GPT-2 from its config: nothing is downloaded. Heads stay 16 wide, so their number grows."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=2,
        n_head=width // 16,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,  # every window is seen once: nothing to regularize
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


@cache
def plan_for(width: int, base_width: int) -> ScalingPlan:
    """The plan at a width, printed where it changes anything."""
    plan = make_plan(
        build, width=width, base_width=base_width, parameterization=STANDARD, optimizer=ADAM, alignment=FULL
    )
    if width != base_width:
        print(plan)
    return plan


def run(width: int, base_width: int, learning_rate: float, steps: int) -> list[float]:
    """Build, plan, train. The losses."""
    torch.manual_seed(0)
    model = build(width)
    plan = plan_for(width, base_width)
    plan.initialize_(model)
    groups = plan.param_groups(model, learning_rate=learning_rate, weight_decay=0.01)
    return train(model, [torch.optim.AdamW(groups, betas=(0.9, 0.95))], steps=steps)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Tune small, plan large, train; the numbers that are printed."""
    return tune_and_scale(run, arguments, description=__doc__)


if __name__ == "__main__":
    main()
