"""Rules: how a gallery answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..core.errors import OptionError

Score = Literal[
    "learned", "cosine", "query_penalty", "gallery_penalty", "both_penalties", "power_vote",
    "class_centre", "inlier_vote",
]  # fmt: skip

SCORES: tuple[Score, ...] = get_args(Score)

FORMULAS = tuple(score for score in SCORES if score not in ("learned", "inlier_vote"))

Whitening = Literal["none", "pca", "learned"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a gallery answers: the vectors, the score, the geometry, and the thresholds.

    score: "learned" a logistic regression of similarity, votes, distractors and inliers, fitted on
      queries held out from the gallery · "cosine" s₁ · "query_penalty" the seed's s₁ − C ·
      "gallery_penalty" cos − B and a vote · "both_penalties" psinger's cos − B, a vote, − C ·
      "power_vote" haqishen's Σ cos⁹ · "class_centre" cosine to a landmark's mean · "inlier_vote"
      DELG's cos + inliers / 70.
    whitening: "learned" from differences within landmarks, "pca", or "none". It is fitted on
      gallery, distractors and training photos. No score uses other queries.
    """

    score: Score = "learned"
    whitening: Whitening = "learned"
    whitening_dim: int = 256  # axes that are kept, at most
    whitening_shrinkage: float = 0.2  # towards a round scatter: the fewer photos, the more
    expansion: int = 0  # neighbours mixed into a query (αQE)
    augmentation: int = 0  # neighbours mixed into each gallery photo
    superglobal: bool = False  # re-rank the nearest by SuperGlobal
    gallery_bank: int = 5  # distractors averaged for B
    query_bank: int | None = None  # distractors averaged for C; None = 5, and 10 with B
    votes: int = 3  # nearest photos that vote when B is on
    recall: float = 0.99  # of the 10 nearest, found in a large gallery; 1 = compare all of it
    verify: int = 6  # nearest photos compared by geometry; 0 = none
    sure_above: float = 0.97  # no geometry where the confidence is this without it …
    sure_below: float = 0.03  # … or below this
    location_km: float | None = None  # a photo's own place counts, at this distance; None = never
    known_share: float = 0.5  # calibration: share of questions that show a gallery landmark
    # … and of those that show a landmark it does not know: a fifth of the landmark questions, as
    # in the test set of Google Landmarks v2 against its clean gallery.
    unknown_share: float = 0.125
    false_answers: float | None = None  # answer so that this share of non-landmarks is answered
    answer_above: float = 0.5  # else the confidence from which a landmark is answered
    doubt_above: float = 0.25  # confidence from which the answer is "uncertain"

    def __post_init__(self) -> None:
        self._check_shares()
        if min(self.gallery_bank, self.votes, self.query_bank or 1, self.whitening_dim) < 1:
            raise OptionError(
                "gallery_bank, query_bank, votes and whitening_dim must be at least 1"
            )
        if min(self.verify, self.expansion, self.augmentation) < 0:
            raise OptionError("verify, expansion and augmentation must be 0 (off) or more")
        if self.score == "inlier_vote" and not self.verify:
            raise OptionError("the score inlier_vote counts inliers: verify must be at least 1")
        if self.location_km is not None and not 0 < self.location_km <= 20_000:
            raise OptionError(f"location_km {self.location_km} given; expected 0 to 20000")

    def _check_shares(self) -> None:
        if not 0 <= self.doubt_above <= self.answer_above <= 1:
            raise OptionError(
                f"doubt_above {self.doubt_above}, answer_above {self.answer_above} given; "
                "expected 0 ≤ doubt_above ≤ answer_above ≤ 1"
            )
        if not 0 <= self.sure_below < self.sure_above <= 1:
            raise OptionError(
                f"sure_below {self.sure_below}, sure_above {self.sure_above} given; "
                "expected 0 ≤ sure_below < sure_above ≤ 1"
            )
        if not 0 < self.known_share < 1:
            raise OptionError(f"known_share {self.known_share} given; expected between 0 and 1")
        if not 0 <= self.unknown_share <= 1 - self.known_share:
            raise OptionError(
                f"unknown_share {self.unknown_share} given beside known_share "
                f"{self.known_share}; expected 0 or more, and both together at most 1"
            )
        if not 0.5 <= self.recall <= 1:
            raise OptionError(f"recall {self.recall} given; expected 0.5 to 1 (compare all)")
        if not 0 <= self.whitening_shrinkage <= 1:
            raise OptionError(f"whitening_shrinkage {self.whitening_shrinkage} given; "
                              "expected 0 to 1")  # fmt: skip
        if self.false_answers is not None and not 0 < self.false_answers < 1:
            raise OptionError(f"false_answers {self.false_answers} given; expected a share between "
                              "0 and 1, such as 0.01")  # fmt: skip

    @classmethod
    def for_gallery(cls, *, search: str = "here", features: bool = True) -> Rules:
        """The rules that a new gallery starts with.

        search: "there" = its server searches, which knows the vectors as embedded: no whitening.
        features: False = no local features are kept: nothing is compared by geometry.
        """
        defaults = cls(whitening="none") if search == "there" else cls()
        return defaults if features else replace(defaults, verify=0)

    def with_score(self, score: Score) -> Rules:
        """The same rules with another score: a formula as published, on vectors as embedded."""
        if score == "learned":
            return replace(self, score=score)
        verify = (self.verify or 5) if score == "inlier_vote" else 0
        return replace(self, score=score, whitening="none", expansion=0, augmentation=0,
                       superglobal=False, verify=verify)  # fmt: skip

    @property
    def uses_gallery_penalty(self) -> bool:
        """B and the vote are on."""
        return self.score in ("gallery_penalty", "both_penalties")

    @property
    def uses_query_penalty(self) -> bool:
        """C is subtracted."""
        return self.score in ("query_penalty", "both_penalties")

    @property
    def mixes_photos(self) -> bool:
        """A gallery photo's vector, or a landmark's, holds other photos too."""
        return self.augmentation > 0 or self.score == "class_centre"


def require_plain(rules: Rules) -> None:
    """Raises OptionError for rules that a server cannot search by: they need other vectors than it
    has, or all of them.
    """
    wrong = {
        "whitening": rules.whitening != "none", "augmentation": rules.augmentation > 0,
        "superglobal": rules.superglobal, f"score {rules.score}":
        rules.uses_gallery_penalty or rules.score == "class_centre",
    }  # fmt: skip
    if named := [name for name, bad in wrong.items() if bad]:
        raise OptionError(
            f"{', '.join(named)}: not where the server searches; give rules without (whitening "
            '"none", score learned, cosine, query_penalty, power_vote or inlier_vote), or search '
            "here"
        )
