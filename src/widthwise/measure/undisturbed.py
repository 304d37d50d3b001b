"""A block in which a model computes as it is measured, and after which it is as it was."""

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise.scaling.seeding import seeded

SEED = 0
"""Of whatever a model draws in evaluation mode: the same in every pass."""


def evaluation_mode(model: nn.Module) -> None:
    """Without dropout, which would differ from one forward pass to the next; batch norm normalizes as in training."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()


@contextmanager
def undisturbed(model: nn.Module) -> Generator[None]:
    """Evaluation mode, no gradients, one operation after the other; then modes, buffers and random states are restored.

    Nothing is compiled and no layer's operations are fused into one, so that each product can be seen: `torch.compile`
    is set aside, and so are the fast paths of attention and of recurrent layers.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with undisturbed(model):
        ...     _ = model(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> model.training, model.running_mean
        (True, tensor([0., 0.]))
    """
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        buffers = [
            (module, name, buffer, buffer.clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))  # there, products are not told from their parts
            stack.enter_context(torch.no_grad())
            if "torch._dynamo" in sys.modules:  # nothing is compiled before that is imported
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if any(isinstance(module, nn.RNNBase) for module in model.modules()):
                # torch.backends' own contexts also set precisions, and warn of it
                stack.enter_context(_switched_off(torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled))
                stack.enter_context(_switched_off(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled))
            mha = torch.backends.mha
            stack.enter_context(_switched_off(mha.get_fastpath_enabled, mha.set_fastpath_enabled))
            evaluation_mode(model)
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.data.copy_(value)


@contextmanager
def same_draws() -> Generator[None]:
    """What is drawn at random is the same in every such block, and no generator has moved after it."""
    with seeded(SEED):
        yield


@contextmanager
def _switched_off(enabled: Callable[[], bool], switch: Callable[[bool], object]) -> Generator[None]:
    """A block in which one of PyTorch's switches is off."""
    before = enabled()
    switch(False)
    try:
        yield
    finally:
        switch(before)
