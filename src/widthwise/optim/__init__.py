"""Optimizers that know no theory: Adam-atan2, AdamW and Adafactor, and updates over a population's members."""

from widthwise.optim.adafactor import Adafactor
from widthwise.optim.adafactor_member import AdafactorUpdate
from widthwise.optim.adafactor_single import AdafactorConstants
from widthwise.optim.adam_atan2 import AdamAtan2
from widthwise.optim.adamw import AdamW
from widthwise.optim.angle_scale import scale_for_small_ratios, scale_for_unit_ratios
from widthwise.optim.compact_step import CompactUpdate, StateFormat
from widthwise.optim.implementation import has_triton
from widthwise.optim.member_update import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate, State
from widthwise.optim.non_finite import NonFinite
from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.population_step import PopulationStep
from widthwise.optim.rounding import NEAREST, StochasticRounding
from widthwise.optim.second_moment import ROOT, SQUARED
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay

__all__ = [
    "NEAREST",
    "NO_DECAY",
    "ROOT",
    "SQUARED",
    "Adafactor",
    "AdafactorConstants",
    "AdafactorUpdate",
    "AdamAtan2",
    "AdamAtan2Update",
    "AdamUpdate",
    "AdamW",
    "CompactUpdate",
    "MemberUpdate",
    "NonFinite",
    "ParameterScaling",
    "PopulationStep",
    "SgdUpdate",
    "State",
    "StateFormat",
    "StochasticRounding",
    "WeightDecay",
    "has_triton",
    "scale_for_small_ratios",
    "scale_for_unit_ratios",
]
