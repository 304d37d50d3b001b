"""Hugging Face's Llama, with Muon for its hidden matrices and AdamW for everything else.

    python examples/llama.py
    python examples/llama.py --width 512 --steps 300

Muon's update is orthogonal, so its rates follow a rule of their own: the hidden matrices keep the base rate at every
width, and what AdamW updates follows Adam's rule. The plan's column `rule` says which of the two applies to a tensor,
and no tensor gets both.
"""

from functools import cache

import torch
from language_model import CONTEXT, VOCABULARY, train, tune_and_scale
from transformers import LlamaConfig, LlamaForCausalLM

from widthwise import FULL, MUON, STANDARD, ScalingPlan, make_plan
from widthwise.scaling import muon_with_adamw

ADAMW_RATE = 2.0**-7
"""Not tuned here: the grid below is Muon's."""


def build(width: int) -> LlamaForCausalLM:
    """A Llama from its config: heads of 8, half as many for keys and values, an MLP of 3 n, untied."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 8,
        num_key_value_heads=width // 16,
        head_dim=8,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


@cache
def plan_for(width: int, base_width: int) -> ScalingPlan:
    """The plan at a width, printed where it changes anything."""
    plan = make_plan(
        build, width=width, base_width=base_width, parameterization=STANDARD, optimizer=MUON, alignment=FULL
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
    muon, adamw = muon_with_adamw(
        plan, model, muon_rate=learning_rate, adamw_rate=ADAMW_RATE, weight_decay=0.01
    )
    losses = train(model, [muon, adamw], steps=steps)
    plan.verify(muon)  # each optimizer has its own rule's tensors, in the plan's proportion
    plan.verify(adamw)
    return losses


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Tune small, plan large, train; the numbers that are printed."""
    return tune_and_scale(run, arguments, description=__doc__)


if __name__ == "__main__":
    main()
