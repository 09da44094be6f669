"""Rules: how a gallery answers. Vectors, score, spatial verification and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from ..core.errors import OptionError
from ..core.json_options import SHARE, Span, check_fields, count, short_repr

Score = Literal[
    "learned", "cosine", "query_penalty", "gallery_penalty", "both_penalties", "power_vote",
    "class_centre", "inlier_vote",
]  # fmt: skip

SCORES: tuple[Score, ...] = get_args(Score)

FORMULAS = tuple(score for score in SCORES if score not in ("learned", "inlier_vote"))

Whitening = Literal["none", "pca", "learned"]


_INSIDE = Span(0, 1, above=True, below=True)

SPANS = {  # rule → the numbers that it takes
    "whitening_dim": count(1, 65_536), "whitening_shrinkage": SHARE, "expansion": count(0, 10_000),
    "augmentation": count(0, 10_000), "gallery_bank": count(1, 10_000),
    "query_bank": count(1, 10_000), "votes": count(1, 10_000),
    "recall": Span(0.5, 1, note="1 compares with all"), "verify": count(0, 10_000),
    "sure_above": SHARE, "sure_below": SHARE, "location_km": Span(0, 20_000, above=True),
    "known_share": _INSIDE, "unknown_share": SHARE,
    "false_answers": Span(0, 1, above=True, below=True, note="a share, such as 0.01"),
    "answer_above": SHARE, "doubt_above": SHARE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a gallery answers: vectors, score, spatial verification and thresholds.

    B is the mean cosine of a gallery photo to its nearest distractors, C that of a query, s₁ the
    cosine of a query to its nearest gallery photo. No score uses other queries.

    Attributes:
        score: What ranks the landmarks of a query; the papers are named in `reranking/`.
            "learned": logistic regression of similarity, votes, distractors and inliers, fitted on
            leave-one-out queries of the gallery. "cosine": s₁. "query_penalty": s₁ − C.
            "gallery_penalty": cos − B, summed over a vote. "both_penalties": the same less C
            (psinger, arXiv:2010.01650). "power_vote": log Σ cos⁹ (haqishen, Google Landmark
            Recognition 2020). "class_centre": cosine to the mean of a landmark's photos (Mensink et
            al., TPAMI 2013). "inlier_vote": cos + min(inliers, 70) / 70, summed over a vote (DELG,
            ECCV 2020).
        whitening: Projection of the vectors, fitted on gallery, distractors and training photos:
            "learned" from differences within landmarks (Radenović et al., TPAMI 2019), "pca" (Jégou
            & Chum, ECCV 2012), or "none".
        whitening_dim: Most axes that the whitening keeps, 1 or more.
        whitening_shrinkage: Of the covariance towards equal variances, 0 to 1; more for fewer
            photos.
        expansion: Neighbours averaged into a query (αQE, Radenović et al., TPAMI 2019); 0 = off.
        augmentation: Neighbours averaged into each gallery photo (Turcot & Lowe, ICCV workshops
            2009); 0 = off.
        superglobal: Re-rank the 400 nearest photos by SuperGlobal (Shao et al., ICCV 2023)?
        gallery_bank: Distractors averaged for B, 1 or more.
        query_bank: Distractors averaged for C, 1 or more; None = 5, and 10 when the score uses B.
        votes: Nearest photos that vote when the score uses B, 1 or more.
        recall: Share of the 10 nearest photos that the index of a large gallery must find, 0.5 to
            1; 1 = compare with all.
        verify: Nearest photos that are verified by local features; 0 = none.
        sure_above: A query is verified only below this confidence, 0 to 1 …
        sure_below: … and above this one.
        location_km: Scale of the location prior in km, above 0 to 20,000; None = locations of
            photos are not read.
        known_share: Share of queries that show a landmark of the gallery, above 0 and below 1; the
            confidence is calibrated for this mix …
        unknown_share: … and share of those that show another landmark; the rest shows none. The
            default makes that a fifth of all landmark queries, as in the test set of Google
            Landmarks v2 against its clean gallery.
        false_answers: Share of the photos without a landmark that may be answered, above 0 and
            below 1: a threshold on the score replaces `answer_above` (see
            `calibration.threshold_for`). None = off.
        answer_above: Least confidence of the decision "landmark", 0 to 1.
        doubt_above: Least confidence of "uncertain", at most `answer_above`.

    Raises:
        OptionError: For a value out of its range, or values that do not fit together.
    """

    spans: ClassVar[Mapping[str, Span]] = SPANS

    score: Score = "learned"
    whitening: Whitening = "learned"
    whitening_dim: int = 256
    whitening_shrinkage: float = 0.2
    expansion: int = 0
    augmentation: int = 0
    superglobal: bool = False
    gallery_bank: int = 5
    query_bank: int | None = None
    votes: int = 3
    recall: float = 0.99
    verify: int = 6
    sure_above: float = 0.97
    sure_below: float = 0.03
    location_km: float | None = None
    known_share: float = 0.5
    unknown_share: float = 0.125
    false_answers: float | None = None
    answer_above: float = 0.5
    doubt_above: float = 0.25

    def __post_init__(self) -> None:
        check_fields(self)
        if self.doubt_above > self.answer_above:
            raise OptionError(
                f"doubt_above {self.doubt_above}, answer_above {self.answer_above} given; "
                "expected doubt_above at most answer_above"
            )
        if self.sure_below >= self.sure_above:
            raise OptionError(
                f"sure_below {self.sure_below}, sure_above {self.sure_above} given; "
                "expected sure_below less than sure_above"
            )
        if self.unknown_share > 1 - self.known_share:
            raise OptionError(
                f"unknown_share {self.unknown_share} given beside known_share "
                f"{self.known_share}; expected both together at most 1"
            )
        if self.score == "inlier_vote" and not self.verify:
            raise OptionError("the score inlier_vote counts inliers: verify must be at least 1")

    @classmethod
    def for_gallery(cls, *, search: str = "here", features: bool = True) -> Rules:
        """The default rules of a new gallery.

        Args:
            search: "here", or where else it is searched; no whitening then, because a server
                stores the vectors as embedded.
            features: False = no local features are stored, so nothing can be verified.

        Returns:
            Rules that such a gallery can answer by.
        """
        defaults = cls() if search == "here" else cls(whitening="none")
        return defaults if features else replace(defaults, verify=0)

    def __repr__(self) -> str:
        return short_repr(self)

    def with_score(self, score: Score) -> Rules:
        """The rules with another score; a formula is used as published, on vectors as embedded.

        Args:
            score: "learned" replaces only the score. A formula also turns off whitening, expansion,
                augmentation and SuperGlobal, and verification unless it counts inliers.

        Returns:
            New rules; thresholds and shares stay as they are.
        """
        if score == "learned":
            return replace(self, score=score)
        verify = (self.verify or 5) if score == "inlier_vote" else 0
        return replace(self, score=score, whitening="none", expansion=0, augmentation=0,
                       superglobal=False, verify=verify)  # fmt: skip

    @property
    def uses_gallery_penalty(self) -> bool:
        """Does the score subtract B and vote?"""
        return self.score in ("gallery_penalty", "both_penalties")

    @property
    def uses_query_penalty(self) -> bool:
        """Does the score subtract C?"""
        return self.score in ("query_penalty", "both_penalties")

    @property
    def mixes_photos(self) -> bool:
        """Are other photos averaged into a gallery photo's vector, or into a landmark's?"""
        return self.augmentation > 0 or self.score == "class_centre"


def unsupported_on_servers(rules: Rules) -> list[str]:
    """What of the rules no server can search by: it needs other vectors than stored, or all."""
    unsupported = {
        "whitening": rules.whitening != "none", "augmentation": rules.augmentation > 0,
        "superglobal": rules.superglobal, f"score {rules.score}":
        rules.uses_gallery_penalty or rules.score == "class_centre",
    }  # fmt: skip
    return [name for name, used in unsupported.items() if used]


def require_server_rules(rules: Rules) -> None:
    """Raises OptionError for rules that no server can search by."""
    if named := unsupported_on_servers(rules):
        raise OptionError(
            f"{', '.join(named)}: not supported when a server searches the gallery; give rules "
            'without (whitening "none", score learned, cosine, query_penalty, power_vote or '
            "inlier_vote), or --search here"
        )
