"""The triplet losses against slow loops, another library, and geometry."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as reference_losses
from pytorch_metric_learning import miners, reducers
from torch import Tensor
from torch.nn.functional import normalize

from whichlandmark.core.errors import OptionError
from whichlandmark.training import losses
from whichlandmark.training.losses import distances, hardest_gaps, semi_hard_gaps, triplet_loss

MININGS = ("batch_hard", "batch_all", "semi_hard")
MARGINS = (None, 0.1, 0.4)


def random_batch(seed: int, rows: int = 24, dim: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = normalize(torch.randn(rows, dim, generator=generator), dim=1)
    return embeddings, torch.randint(0, 5, (rows,), generator=generator)


def slow_gaps(embeddings: Tensor, labels: list[int], mining: str) -> list[Tensor]:
    """Gaps of the papers' triplets in float64, one anchor, positive and negative at a time."""
    rows, everyone, gaps = embeddings.double(), range(len(labels)), []
    for a in everyone:
        far = [(rows[a] - rows[i]).norm() if i != a else None for i in everyone]
        positives = [far[i] for i in everyone if i != a and labels[i] == labels[a]]
        negatives = sorted(far[i] for i in everyone if labels[i] != labels[a])
        if not positives or not negatives:
            continue
        if mining == "batch_hard":
            gaps.append(max(positives) - negatives[0])
        for positive in positives if mining != "batch_hard" else []:
            beyond = [negative for negative in negatives if negative > positive]
            chosen = [beyond[0]] if beyond else [negatives[-1]]
            gaps += [positive - n for n in (negatives if mining == "batch_all" else chosen)]
    return gaps


def slow_loss(embeddings: Tensor, labels: Tensor, mining: str, margin: float | None) -> Tensor:
    costs = []
    for gap in slow_gaps(embeddings, labels.tolist(), mining):
        cost = torch.log(1 + torch.exp(gap)) if margin is None else gap + margin
        if margin is not None and cost <= 0:
            cost = gap * 0
        if mining == "batch_hard" or cost > 0:
            costs.append(cost)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_a_slow_computation(seed: int, mining: str, margin: float | None) -> None:
    """The value, and its gradient at every embedding."""
    embeddings, labels = random_batch(seed, rows=16)
    embeddings.requires_grad_()
    ours = triplet_loss(embeddings, labels, mining=mining, margin=margin)
    slow = slow_loss(embeddings, labels, mining, margin)
    assert float(ours.detach()) == pytest.approx(float(slow.detach()), abs=1e-5)
    # Ours assumes unit rows (2 − 2 a·b), so compare the gradients tangential to the sphere.
    assert torch.allclose(
        tangential_gradient(ours, embeddings), tangential_gradient(slow, embeddings), atol=1e-5
    )


def tangential_gradient(loss: Tensor, embeddings: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, embeddings)
    return gradient - (gradient * embeddings).sum(1, keepdim=True) * embeddings.detach()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("seed", range(3))
def test_batch_hard_equals_pytorch_metric_learning(seed: int, margin: float | None) -> None:
    """Both take the mean over all anchors."""
    embeddings, labels = random_batch(seed)
    embeddings.requires_grad_()
    theirs = reference_losses.TripletMarginLoss(
        margin=margin or 0.0, smooth_loss=margin is None, reducer=reducers.MeanReducer()
    )(embeddings, labels, miners.BatchHardMiner()(embeddings, labels))
    ours = triplet_loss(embeddings, labels, mining="batch_hard", margin=margin)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    assert torch.allclose(
        tangential_gradient(ours, embeddings), tangential_gradient(theirs, embeddings), atol=1e-5
    )


def test_batch_hard_differs_from_the_default_mean_of_pytorch_metric_learning() -> None:
    """Their default averages over the terms that are not zero; the paper over the anchors."""
    embeddings, labels = random_batch(1)
    embeddings[labels == 0] = normalize(torch.ones(1, 16), dim=1)  # zero loss for these anchors
    mined = miners.BatchHardMiner()(embeddings, labels)
    theirs = reference_losses.TripletMarginLoss(margin=0.1)(embeddings, labels, mined)
    costs = (hardest_gaps(embeddings, labels) + 0.1).clamp(min=0)
    assert 0 < int((costs > 0).sum()) < len(costs)
    ours = float(triplet_loss(embeddings, labels, mining="batch_hard", margin=0.1))
    share = float((costs > 0).float().mean())
    assert ours == pytest.approx(float(theirs) * share, abs=1e-5)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("seed", range(3))
def test_batch_all_equals_pytorch_metric_learning(seed: int, margin: float | None) -> None:
    """With a hinge, both average over nonzero terms, so their margin miner changes nothing."""
    embeddings, labels = random_batch(seed)
    embeddings.requires_grad_()
    theirs = reference_losses.TripletMarginLoss(margin=margin or 0.0, smooth_loss=margin is None)(
        embeddings, labels
    )
    ours = triplet_loss(embeddings, labels, mining="batch_all", margin=margin)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    assert torch.allclose(
        tangential_gradient(ours, embeddings), tangential_gradient(theirs, embeddings), atol=1e-5
    )
    if margin is not None:
        mined = miners.TripletMarginMiner(margin=margin, type_of_triplets="all")(embeddings, labels)
        again = reference_losses.TripletMarginLoss(margin=margin)(embeddings, labels, mined)
        assert float(ours.detach()) == pytest.approx(float(again.detach()), abs=1e-5)


def test_semi_hard_equals_pytorch_metric_learning_when_unambiguous() -> None:
    """One negative, inside the margin, for each anchor and positive."""
    angles = torch.tensor([0.0, 0.5, -0.6])
    rows, labels = torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0, 0, 1])
    mined = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")(rows, labels)
    assert len(mined[0]) == 1  # the negative is farther than the margin from anchor 1
    theirs = reference_losses.TripletMarginLoss(margin=0.2)(rows, labels, mined)
    ours = triplet_loss(rows, labels, mining="semi_hard", margin=0.2)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)
    assert float(ours) == pytest.approx(2 * math.sin(0.25) - 2 * math.sin(0.3) + 0.2, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_semi_hard_takes_the_nearest_negative_beyond_the_positive(seed: int) -> None:
    """Theirs uses every negative between positive and margin, ours the nearest of them.

    Theirs skips a pair whose negatives are all nearer; ours uses the farthest negative.
    """
    embeddings, labels = random_batch(seed)
    margin = 0.15
    anchors, positives, negatives = miners.TripletMarginMiner(
        margin=margin, type_of_triplets="semihard"
    )(embeddings, labels)
    distance = torch.cdist(embeddings, embeddings)
    nearest: dict[tuple[int, int], float] = {}
    for a, p, n in zip(anchors.tolist(), positives.tolist(), negatives.tolist(), strict=True):
        gap = float(distance[a, p] - distance[a, n])
        nearest[a, p] = max(gap, nearest.get((a, p), -math.inf))
    assert len(anchors) > len(nearest)
    gaps = semi_hard_gaps(embeddings, labels)
    inside = gaps[(gaps < 0) & (gaps >= -margin)]
    assert sorted(inside.tolist()) == pytest.approx(sorted(nearest.values()), abs=1e-5)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    assert len(gaps) == int(same.sum())


def test_without_a_farther_negative_the_farthest_is_taken() -> None:
    angles = torch.tensor([0.0, 2.0, 0.3, -0.7])
    rows, labels = torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0, 0, 1, 2])
    gaps = semi_hard_gaps(rows, labels)
    assert float(gaps[0]) == pytest.approx(2 * math.sin(1.0) - 2 * math.sin(0.35), abs=1e-6)


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


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_equal_photos_have_a_finite_gradient(mining: str, margin: float | None) -> None:
    """The infinite slope of the square root at distance 0 must not reach the weights."""
    row = normalize(torch.ones(1, 8), dim=1)
    embeddings = row.repeat(6, 1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = triplet_loss(embeddings, labels, mining=mining, margin=margin)
    loss.backward()
    expected = math.log(2) if margin is None else margin  # every gap is 0
    assert float(loss.detach()) == pytest.approx(expected)
    assert torch.isfinite(embeddings.grad).all()
    assert float(distances(row.repeat(2, 1))[0, 1]) == 0.0


def test_large_gaps_do_not_overflow() -> None:
    """softplus(x) = log(1 + exp(x)) equals x for large x, without overflow."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    gap = hardest_gaps(rows, labels)
    assert torch.isfinite(torch.nn.functional.softplus(gap * 1e4)).all()
    assert float(triplet_loss(rows, labels)) == pytest.approx(
        (math.log1p(math.exp(2.0 - 0.0)) + math.log1p(math.exp(2.0 - 2.0))) / 2
    )


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_a_batch_without_triplets_has_zero_loss_and_gradient(
    mining: str, margin: float | None
) -> None:
    embeddings, _ = random_batch(0, rows=3)
    embeddings.requires_grad_()
    for labels in ([7, 7, 7], [1, 2, 3]):  # no negative; no positive
        loss = triplet_loss(embeddings, torch.tensor(labels), mining=mining, margin=margin)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert float(loss.detach()) == 0.0
        assert (gradient == 0).all()
    single = torch.tensor([1, 1, 2])  # the third has no positive: two anchors, one positive each
    assert len(hardest_gaps(embeddings, single)) == len(semi_hard_gaps(embeddings, single)) == 2
    assert float(triplet_loss(embeddings, single, mining=mining).detach()) > 0


@pytest.mark.parametrize("mining", MININGS)
def test_satisfied_triplets_have_zero_hinge_loss(mining: str) -> None:
    embeddings = torch.eye(8)[[0, 0, 1, 1]].requires_grad_()  # negatives √2 away
    loss = triplet_loss(embeddings, torch.tensor([0, 0, 1, 1]), mining=mining, margin=1.4)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert float(loss.detach()) == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", ["batch_all", "semi_hard"])
def test_large_batches_are_computed_in_parts(
    mining: str, margin: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computing a few pairs at a time gives the same value and gradient."""
    embeddings, labels = random_batch(5)
    embeddings.requires_grad_()
    whole = triplet_loss(embeddings, labels, mining=mining, margin=margin)
    monkeypatch.setattr(losses, "MAX_GAPS_PER_PART", 7 * len(labels))
    parts = triplet_loss(embeddings, labels, mining=mining, margin=margin)
    assert float(parts.detach()) == pytest.approx(float(whole.detach()), abs=1e-6)
    assert torch.allclose(
        tangential_gradient(parts, embeddings), tangential_gradient(whole, embeddings), atol=1e-7
    )


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_float32_inside_autocast(mining: str, margin: float | None) -> None:
    """In bfloat16 the distance of near rows would be off by 0.1."""
    embeddings, labels = random_batch(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (embeddings @ embeddings.T).dtype == torch.bfloat16
        inside = triplet_loss(embeddings, labels, mining=mining, margin=margin)
        low = triplet_loss(embeddings.bfloat16(), labels, mining=mining, margin=margin)
    assert inside.dtype == low.dtype == torch.float32
    assert float(inside) == float(triplet_loss(embeddings, labels, mining=mining, margin=margin))
    assert float(low) == pytest.approx(float(inside), abs=0.02)


def test_unknown_mining_is_refused() -> None:
    with pytest.raises(OptionError, match="'hardest' given; expected one of batch_hard"):
        triplet_loss(*random_batch(0), mining="hardest")  # type: ignore[arg-type]
