"""ArcFace against a computation by angles and another library: margins, centres, weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as reference_losses
from torch import Tensor
from torch.nn.functional import normalize

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.training.losses import ArcFace, class_weights, dynamic_margins

COUNTS = np.array([1, 3, 40, 800, 16])


def random_batch(seed: int, rows: int = 24, dim: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = normalize(torch.randn(rows, dim, generator=generator), dim=1)
    return embeddings, torch.randint(0, 5, (rows,), generator=generator)


def with_rows_behind(loss: ArcFace, seed: int) -> tuple[Tensor, Tensor]:
    """A batch with one row opposite to the first centre of its landmark: θ > π − margin."""
    embeddings, labels = random_batch(seed)
    behind = -loss.directions.detach()[int(labels[0]) * loss.centres]
    embeddings[0] = normalize(behind + 0.01 * torch.randn(16), dim=0)
    return embeddings, labels


def slow_terms(loss: ArcFace, embeddings: Tensor, labels: Tensor) -> list[float]:
    """Slow: angles by acos, the nearest centre, the margin added, softmax by hand."""
    directions = normalize(loss.directions.detach().double(), dim=1)
    terms = []
    for row, label in zip(embeddings.double(), labels.tolist(), strict=True):
        logits = []
        for c in range(len(directions) // loss.centres):
            own = directions[c * loss.centres : (c + 1) * loss.centres]
            angle = min(math.acos(float(row @ direction)) for direction in own)
            margin = float(loss.margins[c]) if c == label else 0.0
            turned = math.cos(angle + margin)
            if angle > math.pi - margin:
                turned = math.cos(angle) - margin * math.sin(margin)
            logits.append(loss.scale * turned)
        terms.append(math.log(sum(map(math.exp, logits))) - logits[label])
    return terms


@pytest.mark.parametrize("centres", [1, 3])
@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, "dynamic"])
def test_the_loss_matches_a_computation_by_angles(margin: float | str, centres: int) -> None:
    torch.manual_seed(0)
    given = dynamic_margins(COUNTS) if margin == "dynamic" else float(margin)
    loss = ArcFace(16, 5, scale=8.0, margin=given, centres=centres)
    embeddings, labels = with_rows_behind(loss, 3)
    terms = slow_terms(loss, embeddings, labels)
    assert float(loss(embeddings, labels).detach()) == pytest.approx(
        sum(terms) / len(terms), abs=1e-4
    )


@pytest.mark.parametrize("centres", [1, 3])
def test_equals_pytorch_metric_learning(centres: int) -> None:
    """The value, and the gradients at the directions and at the embeddings."""
    torch.manual_seed(1)
    loss = ArcFace(16, 5, scale=20.0, margin=0.2, centres=centres)
    embeddings, labels = with_rows_behind(loss, 4)
    embeddings.requires_grad_()
    shape = {"num_classes": 5, "embedding_size": 16}
    options = {"margin": math.degrees(0.2), "scale": 20.0}
    theirs = (
        reference_losses.ArcFaceLoss(**shape, **options)
        if centres == 1
        else reference_losses.SubCenterArcFaceLoss(**shape, **options, sub_centers=centres)
    )
    theirs.W.data = loss.directions.detach().T.clone()
    ours, other = loss(embeddings, labels), theirs(embeddings, labels)
    assert float(ours.detach()) == pytest.approx(float(other.detach()), abs=1e-4)
    own = torch.autograd.grad(ours, [loss.directions, embeddings])
    reference = torch.autograd.grad(other, [theirs.W, embeddings])
    assert torch.allclose(own[0], reference[0].T, atol=1e-4)
    # Theirs normalises the rows again, so compare the gradients tangential to the sphere.
    radial = (own[1] * embeddings).sum(1, keepdim=True) * embeddings
    assert torch.allclose(own[1] - radial, reference[1], atol=1e-4)


def test_per_landmark_margins_equal_separate_losses_of_one_margin() -> None:
    """Their loss has one margin for all landmarks, so it is computed landmark by landmark."""
    loss = ArcFace(16, 5, scale=20.0, margin=dynamic_margins(COUNTS))
    embeddings, labels = random_batch(5)
    total = 0.0
    for c in range(5):
        theirs = reference_losses.ArcFaceLoss(
            5, 16, margin=math.degrees(float(loss.margins[c])), scale=20.0
        )
        theirs.W.data = loss.directions.detach().T.clone()
        mine = labels == c
        total += float(theirs(embeddings[mine], labels[mine]).detach()) * int(mine.sum())
    assert float(loss(embeddings, labels).detach()) == pytest.approx(total / len(labels), abs=1e-4)


def test_equal_per_landmark_margins_equal_one_margin() -> None:
    torch.manual_seed(2)
    one = ArcFace(16, 5, scale=20.0, margin=0.3)
    each = ArcFace(16, 5, scale=20.0, margin=torch.full((5,), 0.3))
    each.load_state_dict(one.state_dict())
    batch = random_batch(6)
    assert float(one(*batch).detach()) == float(each(*batch).detach())


def test_only_the_nearest_sub_centre_gets_gradients() -> None:
    loss = ArcFace(4, 2, scale=5.0, margin=0.1, centres=2)
    loss.directions.data = torch.eye(4)  # landmark 0 has axes 0 and 1, landmark 1 has 2 and 3
    row = normalize(torch.tensor([[0.9, 0.2, 0.1, 0.4]]), dim=1)
    loss(row, torch.tensor([0])).backward()
    learned = loss.directions.grad.abs().sum(dim=1) > 0
    assert learned.tolist() == [True, False, False, True]
    assert loss.cosines(row).detach()[0].tolist() == pytest.approx(
        [float(row[0, 0]), float(row[0, 3])]
    )


def test_the_loss_stays_monotone_beyond_pi() -> None:
    """The true logit never rises with the angle, not even with the largest margin."""
    loss = ArcFace(2, 2, scale=1.0, margin=1.5)
    loss.directions.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles = torch.linspace(0, math.pi, 500)
    rows = torch.stack([angles.cos(), -angles.sin()], dim=1)
    labels = torch.zeros(500, dtype=torch.int64)
    logits = loss._with_margin(loss.cosines(rows), labels)[:, 0].detach()
    assert (logits.diff() < 1e-6).all()


def test_gradients_are_finite_on_and_opposite_to_a_center() -> None:
    """The derivative of the sine term is infinite at a centre and opposite to it."""
    loss = ArcFace(8, 2, scale=30.0, margin=0.5)
    loss.directions.data = torch.eye(8)[:2]  # exact: the cosines are 1 and −1
    rows = (torch.eye(8)[[0, 0]] * torch.tensor([[1.0], [-1.0]])).requires_grad_()
    loss(rows, torch.tensor([0, 0])).backward()
    assert torch.isfinite(rows.grad).all()
    assert torch.isfinite(loss.directions.grad).all()


def test_dynamic_margins_match_a_hand_computation() -> None:
    margins = dynamic_margins(np.array([1, 16, 256]), low=0.1, high=0.5).tolist()
    t = [1.0, 0.5, 0.25]  # n^(−1/4)
    assert margins == pytest.approx([0.1 + 0.4 * (x - 0.25) / 0.75 for x in t], abs=1e-6)
    default = dynamic_margins(COUNTS)
    assert float(default.max()) == pytest.approx(0.5) == pytest.approx(float(default[0]))
    assert float(default.min()) == pytest.approx(0.05) == pytest.approx(float(default[3]))
    assert (np.argsort(-default.numpy()) == np.argsort(COUNTS)).all()
    assert dynamic_margins(np.array([7, 7])).tolist() == pytest.approx([0.275, 0.275])


def test_class_weights_match_a_hand_computation() -> None:
    weights = class_weights(COUNTS).double().numpy()
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1.0)  # mean over photos
    assert weights[0] / weights[3] == pytest.approx(math.log(801) / math.log(2))
    assert class_weights(np.array([9, 9, 9])).tolist() == pytest.approx([1.0] * 3)


def test_weights_count_within_a_batch_of_one_landmark() -> None:
    """cross_entropy(weight=…) would divide by the batch's weights and cancel them here."""
    weights = class_weights(COUNTS)
    loss = ArcFace(16, 5, scale=8.0, margin=0.2, weights=weights)
    embeddings, labels = random_batch(7)
    terms = np.array(slow_terms(loss, embeddings, labels))
    expected = (terms * weights.numpy()[labels.numpy()]).mean()
    assert float(loss(embeddings, labels).detach()) == pytest.approx(expected, abs=1e-4)
    rare = torch.zeros(24, dtype=torch.int64)
    plain = ArcFace(16, 5, scale=8.0, margin=0.2)
    plain.load_state_dict(loss.state_dict())
    ratio = float(loss(embeddings, rare).detach()) / float(plain(embeddings, rare).detach())
    assert ratio == pytest.approx(float(weights[0]), rel=1e-5)


@pytest.mark.parametrize("centres", [1, 3])
def test_float32_inside_autocast(centres: int) -> None:
    loss = ArcFace(16, 5, scale=45.0, margin=0.3, centres=centres)
    embeddings, labels = random_batch(8)
    outside = loss(embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(embeddings, labels)
        low = loss(embeddings.bfloat16(), labels)
    assert inside.dtype == low.dtype == torch.float32
    assert float(inside.detach()) == float(outside.detach())
    assert torch.isfinite(low)


def test_only_the_centers_are_saved_and_everything_moves_to_the_device() -> None:
    loss = ArcFace(4, 5, scale=8.0, margin=dynamic_margins(COUNTS), weights=class_weights(COUNTS))
    assert set(loss.state_dict()) == {"directions"}
    assert loss.to("meta").margins.device.type == "meta"
    assert loss.weights.device.type == "meta"


def test_invalid_options_are_refused() -> None:
    with pytest.raises(OptionError, match="0 centres"):
        ArcFace(4, 5, scale=8.0, margin=0.1, centres=0)
    with pytest.raises(OptionError, match="from 0 to π/2"):
        ArcFace(4, 5, scale=8.0, margin=28.6)  # degrees
    with pytest.raises(OptionError, match=r"margins of shape \(4,\) given for 5 landmarks"):
        ArcFace(4, 5, scale=8.0, margin=torch.full((4,), 0.1))
    with pytest.raises(OptionError, match=r"weights of shape \(6,\)"):
        ArcFace(4, 5, scale=8.0, margin=0.1, weights=torch.ones(6))
    with pytest.raises(DataError, match=r"2 of them without a photo \(first: \[1, 3\]\)"):
        dynamic_margins(np.array([4, 0, 2, 0]))
    with pytest.raises(DataError, match="0 landmarks"):
        class_weights(np.array([], dtype=np.int64))
    with pytest.raises(OptionError, match=r"from 0.5 to 0.1 given"):
        dynamic_margins(COUNTS, low=0.5, high=0.1)
