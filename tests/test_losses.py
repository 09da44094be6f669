"""The triplet loss against a slow re-derivation, another library, and geometry."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as reference_losses
from pytorch_metric_learning import miners, reducers

from whichlandmark.net.losses import ArcFace, batch_hard, distances, hardest_gaps


def random_batch(seed: int, rows: int = 24, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)
    return embeddings, torch.randint(0, 5, (rows,), generator=generator)


def slow_loss(embeddings: torch.Tensor, labels: torch.Tensor) -> float:
    """Hermans et al., equation 5 with the soft margin, one anchor at a time."""
    terms = []
    for a in range(len(labels)):
        to = [math.dist(embeddings[a].tolist(), row.tolist()) for row in embeddings]
        positive = [to[i] for i in range(len(labels)) if i != a and labels[i] == labels[a]]
        negative = [to[i] for i in range(len(labels)) if labels[i] != labels[a]]
        if positive and negative:
            terms.append(math.log(1 + math.exp(max(positive) - min(negative))))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_slow_derivation(seed: int) -> None:
    embeddings, labels = random_batch(seed)
    assert float(batch_hard(embeddings, labels)) == pytest.approx(
        slow_loss(embeddings, labels), abs=1e-5
    )


@pytest.mark.parametrize("seed", range(5))
def test_equals_pytorch_metric_learning(seed: int) -> None:
    embeddings, labels = random_batch(seed)
    embeddings.requires_grad_()
    theirs = reference_losses.TripletMarginLoss(
        margin=0.0, smooth_loss=True, reducer=reducers.MeanReducer()
    )(embeddings, labels, miners.BatchHardMiner()(embeddings, labels))
    ours = batch_hard(embeddings, labels)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    (own,) = torch.autograd.grad(ours, embeddings, retain_graph=True)
    (other,) = torch.autograd.grad(theirs, embeddings)
    # Their distance also normalises: compare what is left along the sphere.
    radial = (own * embeddings).sum(1, keepdim=True) * embeddings
    assert torch.allclose(own - radial, other, atol=1e-5)


def test_geometry_on_a_circle() -> None:
    """Points at known angles: the chord between angles a and b is 2 sin(|a − b| / 2)."""
    angles = torch.tensor([0.0, 0.2, 1.0, 1.4])
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 1, 1])

    def chord(a: float, b: float) -> float:
        return 2 * math.sin(abs(a - b) / 2)

    expected = [chord(0, 0.2) - chord(0, 1.0), chord(0.2, 0) - chord(0.2, 1.0),
                chord(1.0, 1.4) - chord(1.0, 0.2), chord(1.4, 1.0) - chord(1.4, 0.2)]  # fmt: skip
    assert hardest_gaps(rows, labels).tolist() == pytest.approx(expected, abs=1e-6)


def test_equal_photos_have_a_finite_gradient() -> None:
    """The square root's slope at a distance of zero is infinite: it must not reach the weights."""
    row = torch.nn.functional.normalize(torch.ones(1, 8), dim=1)
    embeddings = row.repeat(6, 1).requires_grad_()
    loss = batch_hard(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))  # softplus(0)
    assert torch.isfinite(embeddings.grad).all()
    assert float(distances(row.repeat(2, 1))[0, 1]) == 0.0


def test_does_not_overflow() -> None:
    """log(1 + exp(x)) of a large gap: softplus keeps it x."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]) * 1.0
    gap = hardest_gaps(rows, torch.tensor([0, 0, 1]))
    assert torch.isfinite(torch.nn.functional.softplus(gap * 1e4)).all()
    assert float(batch_hard(rows, torch.tensor([0, 0, 1]))) == pytest.approx(
        (math.log1p(math.exp(2.0 - 0.0)) + math.log1p(math.exp(2.0 - 2.0))) / 2
    )


def test_anchors_without_positive_or_negative_take_no_part() -> None:
    embeddings, _ = random_batch(0, rows=3)
    assert float(batch_hard(embeddings, torch.tensor([7, 7, 7]))) == 0.0
    assert float(batch_hard(embeddings, torch.tensor([1, 2, 3]))) == 0.0
    pair_and_single = batch_hard(embeddings, torch.tensor([1, 1, 2]))
    assert len(hardest_gaps(embeddings, torch.tensor([1, 1, 2]))) == 2
    assert float(pair_and_single) > 0


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5])
def test_arcface_by_angles(margin: float) -> None:
    """Slow: angles by acos, the margin added, softmax by hand."""
    embeddings, labels = random_batch(3)
    loss = ArcFace(16, 5, scale=8.0, margin=margin)
    directions = torch.nn.functional.normalize(loss.directions.detach(), dim=1)
    terms = []
    for row, label in zip(embeddings, labels.tolist(), strict=True):
        logits = []
        for c in range(5):
            angle = math.acos(float(row @ directions[c]))
            turned = math.cos(angle + margin)
            if angle > math.pi - margin:
                turned = math.cos(angle) - margin * math.sin(margin)
            logits.append(8.0 * (turned if c == label else math.cos(angle)))
        terms.append(math.log(sum(map(math.exp, logits))) - logits[label])
    expected = sum(terms) / len(terms)
    assert float(loss(embeddings, labels).detach()) == pytest.approx(expected, abs=1e-4)


def test_arcface_equals_pytorch_metric_learning() -> None:
    embeddings, labels = random_batch(4)
    loss = ArcFace(16, 5, scale=20.0, margin=0.2)
    theirs = reference_losses.ArcFaceLoss(5, 16, margin=math.degrees(0.2), scale=20.0)
    theirs.W.data = loss.directions.detach().T.clone()
    assert float(loss(embeddings, labels).detach()) == pytest.approx(
        float(theirs(embeddings, labels).detach()), abs=1e-4
    )
