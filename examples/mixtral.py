"""A mixture of experts, Hugging Face's Mixtral: tune at width 32, train at width 128.

    python examples/mixtral.py
    python examples/mixtral.py --width 512 --steps 300

The experts' weights are stacks of matrices, [experts, out, in]: the stack does not grow and is neither summed over nor
produced, so each expert is a hidden matrix. The router contracts the width into one number an expert, so it is a
readout. Both are read off the model; no rule is needed.
"""

from functools import cache

import torch
from language_model import CONTEXT, VOCABULARY, train, tune_and_scale
from transformers import MixtralConfig, MixtralForCausalLM

from widthwise import ADAM, FULL, MUP, ScalingPlan, make_plan


def build(width: int) -> MixtralForCausalLM:
    """A Mixtral from its config, four experts of which a token takes two."""
    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 8,
        num_key_value_heads=width // 16,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    return MixtralForCausalLM(config)


@cache
def plan_for(width: int, base_width: int) -> ScalingPlan:
    """The plan at a width, printed where it changes anything. muP: readout and router start smaller than standard."""
    plan = make_plan(
        build, width=width, base_width=base_width, parameterization=MUP, optimizer=ADAM, alignment=FULL
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
