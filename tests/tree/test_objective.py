"""Log-probabilities of nodes: a log softmax, worked on a few rows at a time."""

import pytest
import torch

from diffuselm.tree import objective
from diffuselm.tree.objective import NodeLogProbs

ROWS, TOKENS = torch.tensor([0, 0, 2, 5, 5, 5]), torch.tensor([1, 6, 0, 3, 4, 6])


@pytest.fixture(params=[1, 2, 100])
def logits(request, monkeypatch):
    monkeypatch.setattr(objective, "_BLOCK", {True: 7 * request.param})
    torch.manual_seed(0)
    return torch.randn(6, 7, dtype=torch.float64, requires_grad=True)


def test_they_are_those_of_a_log_softmax_with_its_gradient(logits):
    plain = logits.log_softmax(dim=-1)[ROWS, TOKENS]
    back = torch.tensor([0.1, 0.2, 0.0, 3.0, -1.0, 0.5])
    found = NodeLogProbs.apply(logits, ROWS, TOKENS)
    torch.testing.assert_close(found, plain)
    [expected] = torch.autograd.grad(plain, logits, back)
    torch.testing.assert_close(torch.autograd.grad(found, logits, back), (expected,))


def test_the_gradient_is_that_of_finite_differences(logits):
    assert torch.autograd.gradcheck(lambda x: NodeLogProbs.apply(x, ROWS, TOKENS), logits)


def test_a_token_that_may_not_follow_has_no_gradient(logits):
    held = logits.detach().clone()
    held[0, 2:5] = float("-inf")
    held.requires_grad_()
    found = NodeLogProbs.apply(held, ROWS, TOKENS)
    [gradient] = torch.autograd.grad(found.sum(), held)
    assert found.isfinite().all()
    assert (gradient[0, 2:5] == 0).all()
    assert gradient.isfinite().all()
