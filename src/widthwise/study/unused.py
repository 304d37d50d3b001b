"""Fields of a specification that nothing would read: refused where a new study begins.

A store that has begun goes on whatever its specification says, and so does its report.
"""

from widthwise.study.own_spec import OwnSpec
from widthwise.study.spec import MLPSpec, StudySpec

_OF_TEXT = ("text_field", "epochs", "validation_windows")


def require_used(spec: StudySpec) -> None:
    """Check that a new study would use all that it says.

    Raises:
        ValueError: a window reaches beyond the context, or what is read from a corpus is said of a training function.
    """
    model = spec.model
    if isinstance(model, MLPSpec) and model.window > model.context:
        raise ValueError(
            f"model.window {model.window} is longer than model.context {model.context}: the weights of the last "
            f"{model.window - model.context} tokens would never be trained; give at most {model.context}, "
            "or a longer context"
        )
    given = [name for name in _OF_TEXT if name in spec.model_fields_set]
    if isinstance(model, OwnSpec) and given:
        raise ValueError(
            f"{given[0]}: a training function reads its own data, and nothing would follow it; leave it out"
        )


def require_records(spec: StudySpec) -> None:
    """Check that a text whose field is named has fields; what is there is looked at.

    Raises:
        ValueError: it is plain text.
    """
    from widthwise.train import has_records

    assert spec.corpus is not None
    if "text_field" in spec.model_fields_set and not has_records(spec.corpus):
        raise ValueError(
            f"text_field {spec.text_field!r} names a field of JSON lines or Parquet, but corpus {spec.corpus!r} is "
            "plain text, all of which is read; leave it out"
        )
