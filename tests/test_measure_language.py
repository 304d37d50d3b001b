"""The data and the loss of a check that was given neither."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from widthwise.measure import next_token_loss, random_tokens

VOCABULARY = 11


class Logits(nn.Module):
    """Positions come first and are more than tokens: only the model itself knows which table holds tokens."""

    def __init__(self, form: str, *, says: bool = True) -> None:
        super().__init__()
        self.positions, self.tokens = nn.Embedding(100, 4), nn.Embedding(VOCABULARY, VOCABULARY)
        self.form = form
        if says:
            self.get_input_embeddings = lambda: self.tokens

    def forward(self, tokens: Tensor) -> object:
        logits = self.tokens(tokens)
        return {"tensor": logits, "tuple": (logits, None), "output": SimpleNamespace(logits=logits)}[
            self.form
        ]


def test_tokens_are_of_the_input_embedding_and_always_the_same() -> None:
    model = Logits("tensor")
    found = random_tokens(model, sequences=20, length=30)
    assert found.shape == (20, 30)
    assert set(found.flatten().tolist()) == set(range(VOCABULARY))  # a number missing of 600: 11 e^(-57)
    assert torch.equal(found, random_tokens(model, sequences=20, length=30))
    assert random_tokens(Logits("tensor", says=False), sequences=20, length=30).max() >= VOCABULARY


def test_a_model_without_an_embedding_needs_a_batch() -> None:
    with pytest.raises(
        ValueError, match=r"Linear has no nn\.Embedding, so its data cannot be guessed; give a batch"
    ):
        random_tokens(nn.Linear(1, 1))


@pytest.mark.parametrize("form", ["tensor", "tuple", "output"])
def test_the_loss_is_the_next_tokens(form: str) -> None:
    model = Logits(form)
    batch = random_tokens(model, sequences=2, length=5)
    table = model.tokens.weight
    expected = [F.cross_entropy(table[row[t]], row[t + 1]) for row in batch for t in range(4)]
    # eight numbers in float32
    torch.testing.assert_close(next_token_loss(model, batch), torch.stack(expected).mean(), rtol=1e-6, atol=0)


def test_what_is_no_logits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned \(2, 4\) for tokens of shape \(2, 4\)"):
        next_token_loss(nn.Threshold(0.0, 0.0), torch.ones(2, 4))
