"""`verify`: schedulers that keep or lose the factors, optimizers of another rule, groups that were made otherwise."""

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import pytest
import torch
from torch.optim import lr_scheduler

from plan_models import gpt2
from plan_training import adamw, fresh, mlp, plan_of, planned, train
from widthwise.optim import Adafactor, AdamAtan2, WeightDecay
from widthwise.scaling import ScalingPlan
from widthwise.theory import ADAFACTOR, ADAM, ADAM_ATAN2, MUP, RMSPROP, SGD, OptimizerRule


@cache
def plan_for(rule: OptimizerRule = ADAM) -> ScalingPlan:
    return plan_of(mlp, optimizer=rule, parameterization=MUP)


Scheduler = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
KEEPING: dict[str, Scheduler] = {
    "lambda from 0": lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / 3)),
    "linear": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=4),
    "cosine to 0": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5),
    "one cycle, a peak for each group": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=[group["lr"] for group in o.param_groups], total_steps=6, cycle_momentum=False
    ),
    "warm-up, then cosine": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(o, T_max=5)],
        milestones=[2],
    ),
}
LOSING: dict[str, Scheduler] = {
    "one cycle, one peak": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.1, total_steps=6, cycle_momentum=False
    ),
    "cosine to one floor": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5, eta_min=1e-3),
}


def steps_under(scheduler: Scheduler, plan: ScalingPlan) -> None:
    model = fresh(mlp, 64)
    optimizer = adamw(plan, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's own use of a deprecated argument
        schedule = scheduler(optimizer)
        for step in range(5):
            train(model, optimizer, range(step, step + 1))
            schedule.step()
            plan.verify(optimizer, model)


@pytest.mark.parametrize("scheduler", KEEPING.values(), ids=KEEPING)
def test_schedulers_that_multiply_keep_the_factors(scheduler: Scheduler) -> None:
    steps_under(scheduler, plan_for())


@pytest.mark.parametrize("scheduler", LOSING.values(), ids=LOSING)
def test_schedulers_that_set_one_rate_are_caught(scheduler: Scheduler) -> None:
    with pytest.raises(ValueError, match="the plan's factors are gone"):
        steps_under(scheduler, plan_for())


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (SGD, torch.optim.SGD),
        (ADAM, torch.optim.Adam),
        (ADAM, torch.optim.AdamW),
        (ADAM, torch.optim.NAdam),
        (ADAM, torch.optim.RAdam),
        (ADAM, torch.optim.Adamax),
        (RMSPROP, torch.optim.RMSprop),
        (ADAFACTOR, Adafactor),
    ],
    ids=lambda x: getattr(x, "name", None) or x.__name__,
)
def test_optimizers_of_pytorch_take_the_groups(rule: OptimizerRule, optimizer: type) -> None:
    plan = plan_for(rule)
    model = planned(plan, mlp)
    made = optimizer(plan.param_groups(model, learning_rate=1e-2))
    plan.verify(made, model)
    assert train(model, made, range(2))[1] > 0
    plan.verify(made, model)


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (ADAM, torch.optim.SGD),
        (SGD, torch.optim.AdamW),
        (ADAM_ATAN2, torch.optim.AdamW),
        (RMSPROP, torch.optim.Adam),
    ],
    ids=lambda x: getattr(x, "name", None) or x.__name__,
)
def test_an_optimizer_that_the_plan_was_not_made_for(rule: OptimizerRule, optimizer: type) -> None:
    plan = plan_for(rule)
    made = optimizer(plan.param_groups(mlp(64), learning_rate=1e-2))
    with pytest.raises(ValueError, match=rf"the plan's rates are for {rule.name} .* is {optimizer.__name__}"):
        plan.verify(made)


def test_torchs_adafactor_is_refused_with_the_reason() -> None:
    """It has the right name, and no rate of a plan holds in it: also for a subclass, and for a plan of another rule."""

    class Mine(torch.optim.Adafactor):
        pass

    for rule in (ADAFACTOR, ADAM):
        plan = plan_for(rule)
        for optimizer in (torch.optim.Adafactor, Mine):
            made = optimizer(plan.param_groups(mlp(64), learning_rate=1e-2))
            with pytest.raises(ValueError, match=r"min\(lr, 1 / sqrt\(t\)\).*use widthwise.optim.Adafactor"):
                plan.verify(made)


def test_a_subclass_and_a_rule_of_the_users_own() -> None:
    class Mine(torch.optim.AdamW):
        pass

    plan_for().verify(Mine(plan_for().param_groups(mlp(64), learning_rate=1e-2)))
    sign = OptimizerRule("sign", entry_exponent=Fraction(0), source="mine")
    plan = plan_of(mlp, optimizer=sign)
    plan.verify(torch.optim.SGD(plan.param_groups(mlp(64), learning_rate=1e-2)))  # who knows what it does


def test_a_wrapper_around_the_optimizer() -> None:
    class Accelerated:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    plan_for().verify(Accelerated(adamw(plan_for(), mlp(64))))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.NAdam, torch.optim.Adamax])
def test_a_penalty_that_adam_divides_is_no_decay(optimizer: type) -> None:
    plan = plan_for()
    made = optimizer(plan.param_groups(mlp(64), learning_rate=1e-2, weight_decay=0.1))
    with pytest.raises(ValueError, match=rf"{optimizer.__name__} adds its weight decay to the gradient"):
        plan.verify(made)
    if optimizer is not torch.optim.Adamax:
        groups = plan.param_groups(mlp(64), learning_rate=1e-2, weight_decay=0.1)
        plan.verify(optimizer(groups, decoupled_weight_decay=True))


@pytest.mark.parametrize(
    ("optimizer", "decay"), [(torch.optim.AdamW, 0.1), (AdamAtan2, WeightDecay.independent(1e-4))]
)
def test_a_decay_that_the_groups_leave_out(optimizer: type, decay: object) -> None:
    """PyTorch uses a constructor's decay only for groups that have none, and a plan's groups say 0."""
    plan, model = plan_for(), fresh(mlp, 64)
    without = plan.param_groups(model, learning_rate=0.1)
    plan.verify(optimizer(without))  # torch's default of 0.01 is nobody's wish
    with pytest.raises(ValueError, match=r"was given weight_decay=.* give it to plan.param_groups"):
        plan.verify(optimizer(plan.param_groups(model, learning_rate=0.1), weight_decay=decay))
    plan.verify(optimizer(plan.param_groups(model, learning_rate=0.1, weight_decay=0.1), weight_decay=decay))


def test_no_decay_and_a_decay_that_nobody_gave_are_fine() -> None:
    """0 said aloud takes nothing away; what a subclass leaves to its base class (0.01 of AdamW) nobody has given."""

    class Named(torch.optim.AdamW):
        def __init__(self, groups: list[dict[str, object]], **options: float) -> None:
            super().__init__(groups, **options)

    plan, model = plan_for(), fresh(mlp, 64)
    plan.verify(torch.optim.AdamW(plan.param_groups(model, learning_rate=0.1), weight_decay=0.0))
    plan.verify(Named(plan.param_groups(model, learning_rate=0.1)))


def test_groups_that_were_made_otherwise() -> None:
    plan = plan_for()
    model = mlp(64)
    with pytest.raises(ValueError, match="group 0 has no param_names"):
        plan.verify(torch.optim.AdamW(model.parameters()))
    with pytest.raises(ValueError, match=r"the optimizer has 0\.weight, which the plan does not know"):
        plan_of(gpt2, width=32).verify(torch.optim.AdamW(plan.param_groups(model, learning_rate=0.1)))
    with pytest.raises(
        ValueError, match=r"2\.weight has a learning rate for a base rate of 4, 0\.weight for 1;"
    ):
        plan.verify(torch.optim.AdamW([*model.named_parameters()], lr=1.0))


def test_a_rate_that_is_off_by_a_millionth() -> None:
    """Float32 rates round by 6e-8; what a tolerance of 3 would hide is caught."""
    plan = plan_for()
    for error, caught in ((1e-7, False), (1e-5, True), (0.445, True)):
        optimizer = adamw(plan, mlp(64))
        optimizer.param_groups[1]["lr"] *= 1 + error
        if caught:
            with pytest.raises(ValueError, match="the plan's factors are gone"):
                plan.verify(optimizer)
        else:
            plan.verify(optimizer)


def test_with_the_model_names_and_tensors_must_match() -> None:
    plan = plan_for()
    model = mlp(64)
    optimizer = adamw(plan, model)
    other = mlp(64)
    with pytest.raises(ValueError, match=r"the optimizer calls a tensor of another model 0\.weight"):
        plan.verify(optimizer, other)
    group = optimizer.param_groups[0]
    group["param_names"] = group["param_names"][::-1]
    plan_names = group["param_names"]
    if len(plan_names) > 1:
        with pytest.raises(ValueError, match="its state is of groups in another order"):
            plan.verify(optimizer, model)


def test_with_the_model_no_tensor_may_be_missing() -> None:
    plan = plan_for()
    model = mlp(64)
    groups = plan.param_groups(model, learning_rate=0.1, weight_decay=0.1)
    left_out = groups.pop()
    with pytest.raises(
        ValueError, match=rf"{left_out['param_names'][0]} is in none of the optimizer's groups"
    ):
        plan.verify(torch.optim.AdamW(groups), model)
    for tensor in left_out["params"]:
        tensor.requires_grad_(False)
    plan.verify(torch.optim.AdamW(groups), model)
