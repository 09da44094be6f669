"""Leave-one-out queries: each is searched as if its photo had never been in the gallery."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.random_galleries import random_index, unit
from whichlandmark.core.errors import DataError
from whichlandmark.core.parallel import AHEAD
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.index.projection import Projection
from whichlandmark.recognition.fitting import leave_one_out, whitening
from whichlandmark.recognition.fitting.leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    HoldOutBlock,
    Whitenings,
    hold_out_queries,
    query_weights,
)
from whichlandmark.recognition.fitting.whitening import LabelledVectors, fit_whitening
from whichlandmark.recognition.rules import Rules

SIZES = [6, 1, 5, 3, 7, 2, 4, 1, 3]
BANK, DIM = 23, 12
WAYS = [
    Rules(whitening="learned", whitening_dim=6, verify=0),
    Rules(whitening="pca", whitening_dim=6, verify=0, augmentation=2),
    Rules(whitening="none", verify=0, expansion=2),
    Rules(whitening="none", verify=0, superglobal=True),
    Rules(verify=0).with_score("class_centre"),
    Rules(verify=0).with_score("both_penalties"),
]


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    return random_index(SIZES, BANK, dim=DIM, seed=8)


@pytest.fixture
def extra() -> LabelledVectors:
    """Training photos, of landmarks that the gallery has and of others."""
    rng = np.random.default_rng(3)
    names = np.array([f"l{i % 14}" for i in range(42)], dtype=object)
    return LabelledVectors(unit(rng.normal(size=(42, DIM))), names)


Given = tuple[GalleryIndex, LabelledVectors | None]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Given, Projection | None]]:
    """Records what every whitening is fitted on."""
    seen: list[tuple[Given, Projection | None]] = []

    def fit(index: GalleryIndex, rules: Rules, extra: LabelledVectors | None) -> Projection | None:
        seen.append(((index, extra), fit_whitening(index, rules, extra)))
        return seen[-1][1]

    monkeypatch.setattr(leave_one_out, "fit_whitening", fit)
    return seen


def leaks(blocks: list[HoldOutBlock], seen: list[tuple[Given, Projection | None]]) -> list[str]:
    """Queries whose photo, or whose unknown landmark, was in a whitening's or gallery's photos."""
    assert len(blocks) == len(seen)
    found = []
    fitted_on = {id(projection): given for given, projection in seen}  # in any order: threads
    for block in blocks:
        given, extra = fitted_on.pop(id(block.retriever.projection))
        known = {*given.ids, *given.distractor_ids}
        found += [f"whitening saw {i}" for i in block.ids if i in known]
        if block.kind == UNKNOWN:
            shown = {f"l{code}" for code in block.groups}
            found += [f"whitening saw {n}" for n in shown & set(given.names)]
            found += [f"training showed {n}" for n in shown & set(extra.landmarks if extra else ())]
    return found


def test_no_query_uses_a_whitening_fitted_on_it(
    index: GalleryIndex, extra: LabelledVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    for training in (None, extra):
        seen = watched(monkeypatch)
        assert not leaks(hold_out_queries(index, WAYS[0], training), seen)
        monkeypatch.undo()


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_queries_do_not_depend_on_the_number_of_threads(
    index: GalleryIndex, extra: LabelledVectors, way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in (1, 2, 8):
        monkeypatch.setattr(leave_one_out, "whitenings_at_once", lambda *_, n=threads: n)
        steps: list[tuple[int, int]] = []
        blocks = hold_out_queries(
            index, WAYS[way], extra, progress=lambda *at, steps=steps: steps.append(at)
        )
        assert steps == [(1, 3), (2, 3), (3, 3)]
        found.append([
            (b.kind, b.ids.tolist(), b.truth.tobytes(), b.found.neighbours.rows.tobytes(),
             b.found.neighbours.similarity.tobytes(), b.candidates.features.tobytes())
            for b in blocks
        ])  # fmt: skip
    assert found[0] == found[1] == found[2]


def test_a_failing_fold_ends_the_search(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def fit(*given: Any) -> None:
        begun.append(1)
        raise DataError("a fold that fails")

    monkeypatch.setattr(leave_one_out, "fit_whitening", fit)
    monkeypatch.setattr(leave_one_out, "whitenings_at_once", lambda *_: 2)
    with pytest.raises(DataError, match="a fold that fails"):
        hold_out_queries(index, WAYS[0])
    assert len(begun) <= 2 * AHEAD


def test_whitenings_at_once_fit_into_a_quarter_of_the_memory(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whitening, "cpu_count", lambda: 8)
    one = 8 * DIM * (3 * (len(index.ids) + len(index.distractor_ids)) + 6 * DIM)
    for memory, expected in ((4 * one, 1), (12 * one, 3), (100 * one, 8), (one, 1), (None, 1)):
        monkeypatch.setattr(whitening, "memory_bytes", lambda memory=memory: memory)
        assert whitening.whitenings_at_once(index) == expected


def test_planted_leaks_are_detected(
    index: GalleryIndex, extra: LabelledVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    monkeypatch.setattr(leave_one_out, "_without_landmarks", lambda extra, names: extra)
    assert any(
        "training showed l" in leak for leak in leaks(hold_out_queries(index, WAYS[0], extra), seen)
    )
    monkeypatch.undo()
    seen = watched(monkeypatch)
    monkeypatch.setattr(GalleryIndex, "without", lambda self, rows: self)
    reported = leaks(hold_out_queries(index, WAYS[0]), seen)
    assert any(leak.startswith("whitening saw p") for leak in reported)
    assert any(leak.startswith("whitening saw l") for leak in reported)


@pytest.mark.parametrize("rules", WAYS)
def test_no_query_finds_itself_or_its_hidden_landmark(index: GalleryIndex, rules: Rules) -> None:
    name_of = dict(zip(index.ids, index.names[index.codes], strict=True))
    for block in hold_out_queries(index, rules):
        seen = block.retriever.index
        for row, photo in enumerate(block.ids):
            rows = block.found.neighbours.rows[row]
            ids = set(seen.ids[rows[rows >= 0]])
            assert photo not in ids
            named = {seen.names[code] for code in block.candidates.codes[row] if code >= 0}
            if block.kind == KNOWN:
                assert ids
                right = seen.names[block.truth[row]] if block.truth[row] >= 0 else None
                assert right in (name_of[photo], None)
            else:
                assert block.truth[row] == -1
                assert name_of.get(photo) not in named | {name_of[i] for i in ids}
        if block.kind == UNKNOWN and rules.score != "learned":
            answers = block.retriever.votes(block.found).codes
            own = [name_of[photo] for photo in block.ids]
            assert not any(seen.names[c] == n for c, n in zip(answers, own, strict=True))


@pytest.mark.parametrize("rules", WAYS)
def test_a_distractor_query_is_not_among_the_distractors_searched(
    index: GalleryIndex, rules: Rules
) -> None:
    asked = []
    for block in (b for b in hold_out_queries(index, rules) if b.kind == NON_LANDMARK):
        searched = block.retriever.index
        assert not set(block.ids) & set(searched.distractor_ids)
        rest = BANK - len(block.ids)
        assert len(searched.distractor_vectors) == len(searched.distractor_ids) == rest
        assert len(block.retriever.distractor_vectors) == len(searched.distractor_vectors)
        # Otherwise its nearest distractor would be itself, at cosine 1.
        own = index.distractor_vectors[
            [int(np.flatnonzero(index.distractor_ids == i)[0]) for i in block.ids]
        ]
        queries = own.astype(np.float32)
        cosines = queries @ searched.distractor_vectors.astype(np.float32).T
        assert cosines.max() < 0.99
        if rules.whitening == "none" and not rules.expansion:
            count = rules.query_bank or (10 if rules.uses_gallery_penalty else 5)
            slow = [sum(sorted(row)[-count:]) / count for row in cosines.tolist()]
            assert block.found.penalty == pytest.approx(slow, abs=1e-3)
        asked += block.ids.tolist()
    assert sorted(asked) == sorted(index.distractor_ids)


def test_every_photo_is_a_query_once_per_kind(index: GalleryIndex) -> None:
    blocks = hold_out_queries(index, WAYS[0])
    of = {k: Counter(i for b in blocks if b.kind == k for i in b.ids) for k in range(3)}
    alone = {i for i, c in zip(index.ids, index.codes, strict=True) if SIZES[c] == 1}
    assert set(of[KNOWN]) == set(index.ids) - alone  # a landmark's only photo has no right answer
    assert set(of[UNKNOWN]) == set(index.ids)
    assert set(of[NON_LANDMARK]) == set(index.distractor_ids)
    assert {count for counter in of.values() for count in counter.values()} == {1}


def test_groups_are_the_landmarks_of_the_queries(index: GalleryIndex) -> None:
    name_of = dict(zip(index.ids, index.names[index.codes], strict=True))
    blocks = hold_out_queries(index, WAYS[0])
    for block in blocks:
        if block.kind == NON_LANDMARK:
            assert (block.groups < 0).all()
        else:
            names = [index.names[group] for group in block.groups]
            assert names == [name_of[i] for i in block.ids]
    distractors = [g for b in blocks if b.kind == NON_LANDMARK for g in b.groups]
    assert len(set(distractors)) == len(distractors) == BANK
    folds = [set(b.groups) for b in blocks if b.kind == UNKNOWN]
    assert sum(map(len, folds)) == len(set().union(*folds))  # no landmark in two folds


def test_the_number_of_queries_is_capped_by_the_sample(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_one_out, "QUERIES_PER_KIND", 10)
    blocks = hold_out_queries(index, WAYS[2])
    for kind in (KNOWN, UNKNOWN, NON_LANDMARK):
        assert sum(len(b.ids) for b in blocks if b.kind == kind) == 10
    other = hold_out_queries(index, WAYS[2], seed=1)
    assert [b.ids.tolist() for b in blocks] != [b.ids.tolist() for b in other]
    again = hold_out_queries(index, WAYS[2])
    assert [b.ids.tolist() for b in blocks] == [b.ids.tolist() for b in again]


def test_cached_whitenings_are_reused_only_for_the_same_folds(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Whitenings = {}
    first = hold_out_queries(index, WAYS[0], whitenings=known)
    seen = watched(monkeypatch)
    again = hold_out_queries(index, replace(WAYS[0], score="cosine"), whitenings=known)
    assert not seen
    for one, two in zip(first, again, strict=True):
        assert one.ids.tolist() == two.ids.tolist()
        assert one.retriever.projection is two.retriever.projection
        assert (one.found.queries == two.found.queries).all()
    hold_out_queries(index, replace(WAYS[0], whitening_shrinkage=0.7), whitenings=known)
    assert len(seen) == len(first)


def weighed(blocks: list[HoldOutBlock], rules: Rules) -> list[float]:
    weights = query_weights(blocks, rules).tolist()
    kinds = [b.kind for b in blocks for _ in b.ids]
    assert len(weights) == len(kinds)
    total = sum(weights)
    return [sum(w for w, k in zip(weights, kinds, strict=True) if k == kind) / total
            for kind in range(3)]  # fmt: skip


@pytest.mark.parametrize(("known", "unknown"), [(0.5, 0.125), (0.2, 0.0), (0.7, 0.3), (0.1, 0.8)])
def test_weights_match_the_stated_shares(index: GalleryIndex, known: float, unknown: float) -> None:
    rules = replace(WAYS[2], known_share=known, unknown_share=unknown)
    blocks = hold_out_queries(index, rules)
    assert weighed(blocks, rules) == pytest.approx([known, unknown, 1 - known - unknown])
    assert query_weights(blocks, rules).mean() == pytest.approx(1)
    for kind in range(3):  # equal weights within a kind
        kinds = np.repeat([b.kind for b in blocks], [len(b.ids) for b in blocks])
        assert np.ptp(query_weights(blocks, rules)[kinds == kind]) == 0


def test_the_share_of_an_empty_kind_goes_to_the_others(index: GalleryIndex) -> None:
    rules = WAYS[2]
    blocks = hold_out_queries(index, rules)
    no_bank = [b for b in blocks if b.kind != NON_LANDMARK]
    assert weighed(no_bank, rules) == pytest.approx([0.5, 0.5, 0])
    no_unknown = [b for b in blocks if b.kind != UNKNOWN]
    assert weighed(no_unknown, rules) == pytest.approx([0.5, 0, 0.5])


def test_the_remaining_kind_takes_the_rest_even_with_share_zero() -> None:
    rules = replace(WAYS[2], unknown_share=0.0)
    blocks = hold_out_queries(random_index([4] * 5, 0), rules)
    assert weighed(blocks, rules) == pytest.approx([0.5, 0.5, 0])


@pytest.mark.parametrize("rules", [WAYS[1], WAYS[2], WAYS[4]])
def test_a_known_query_keeps_a_photo_of_its_landmark(rules: Rules) -> None:
    """Or rules that mix photos lose GAP, when rules are compared, by queries without an answer."""
    known = [b for b in hold_out_queries(random_index([2] * 30, 10), rules) if b.kind == KNOWN]
    assert all((b.truth >= 0).all() for b in known)


def test_small_galleries_give_the_queries_they_can() -> None:
    plain = WAYS[2]
    kinds = lambda index: {b.kind for b in hold_out_queries(index, plain)}  # noqa: E731
    assert kinds(random_index([1, 1, 1], 0)) == {UNKNOWN}
    assert kinds(random_index([4], 0)) == {KNOWN}
    assert kinds(random_index([4], 4)) == {KNOWN}  # fewer distractors than folds
    assert kinds(random_index([4], 5)) == {KNOWN, NON_LANDMARK}
    assert kinds(random_index([], 9)) == set()


def test_progress_counts_the_kinds(index: GalleryIndex) -> None:
    reported: list[tuple[int, int]] = []
    hold_out_queries(index, WAYS[2], progress=lambda done, total: reported.append((done, total)))
    assert reported == [(1, 3), (2, 3), (3, 3)]
