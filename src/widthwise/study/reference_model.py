"""The reference models of a study, the roles of their tensors, and which of them are measured."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from widthwise.records import LayerRow, TensorRow
from widthwise.scaling import TRANSFORMER_ROLES, assign_roles, mlp_roles
from widthwise.study.own_spec import OwnSpec
from widthwise.study.spec import MLPSpec, StudySpec, TransformerSpec

if TYPE_CHECKING:
    from widthwise.models import ReferenceModel


def build_model(spec: StudySpec, width: int) -> "ReferenceModel":
    """The study's model at a width (imports torch)."""
    from widthwise.models import MLP, Transformer
    from widthwise.train import VOCABULARY

    assert not isinstance(spec.model, OwnSpec)
    vocabulary = model_vocabulary(spec) or VOCABULARY
    if isinstance(spec.model, MLPSpec):
        return MLP(
            width=width,
            depth=spec.model.depth,
            window=spec.model.window,
            vocabulary=vocabulary,
            context=spec.model.context,
        )
    return Transformer(
        width=width,
        depth=spec.model.depth,
        head_dim=spec.model.head_dim,
        vocabulary=vocabulary,
        context=spec.model.context,
    )


def model_vocabulary(spec: StudySpec) -> int | None:
    """The tokens that the models know; None for the 256 bytes."""
    if spec.tokenizer is not None:
        return spec.tokenizer.vocabulary
    return spec.model.vocabulary if isinstance(spec.model, TransformerSpec) else None


def measured_layers(spec: StudySpec, model: "ReferenceModel") -> Iterator[LayerRow]:
    """The layers of a model whose alignment the study measures.

    Raises:
        ValueError: the specification names one that the model does not have.
    """
    if spec.measure is None:
        return
    roles, tensors = model_roles(model), model.tensors()
    for name in spec.measure.alignment.plan(model, roles).layers:
        yield LayerRow(model.width, name, roles[name], tensors[name].shape[0])


def measured_tensors(spec: StudySpec, width: int) -> Iterator[TensorRow]:
    """The tensors of a width whose sizes the study measures."""
    if spec.measure is not None and spec.measure.sizes:
        for name, role in model_roles(build_model(spec, width)).items():
            yield TensorRow(width, name, role)


def model_roles(model: "ReferenceModel") -> dict[str, str]:
    """The role of every tensor of a reference model (imports torch)."""
    from widthwise.models import MLP

    rules = mlp_roles(model.window) if isinstance(model, MLP) else TRANSFORMER_ROLES
    shapes = {name: tensor.shape for name, tensor in model.tensors().items()}
    return {name: one.role.value for name, one in assign_roles(shapes, rules).items()}
