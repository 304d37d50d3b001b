"""Checks of hyperparameters that may be numbers, or arrays whose values are not known while a step is traced."""

from math import isfinite

import jax
import jax.numpy as jnp

Number = float | jax.Array


def check_number(name: str, value: Number) -> None:
    """A finite number that is not negative; an array's value is not read.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, int | float) and not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} = {value}: give a finite number that is not negative")


def check_positive(name: str, value: Number) -> None:
    """A finite number above 0; an array's value is not read.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, int | float) and not (isfinite(value) and value > 0):
        raise ValueError(f"{name} = {value}: give a finite positive number")


def check_beta(name: str, value: Number) -> None:
    """A number from 0 to below 1, or an array of at least float32: in bfloat16, 0.999 is 1.

    Raises:
        ValueError: it is not.

    Example:
        >>> check_beta("b2", 1.0)
        Traceback (most recent call last):
        ...
        ValueError: b2 = 1.0: give a number from 0 to below 1
    """
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise ValueError(f"{name} = {value}: give a number from 0 to below 1")
    elif jnp.finfo(jnp.result_type(value)).bits < 32:
        raise ValueError(
            f"{name} is an array of {jnp.result_type(value)}, which rounds 0.999 to 1: with optax.inject_hyperparams, "
            "give static_args=('b1', 'b2') or hyperparam_dtype=jnp.float32"
        )
