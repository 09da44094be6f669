"""A server's lock around an embedder changes no answer: it has what answers depend on."""

from __future__ import annotations

from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.serving.live_recognizer import LockedEmbedder


class Knowing(HistogramEmbedder):
    """An embedder that knows places, and a fit for small galleries."""

    place_evidence = staticmethod(lambda vectors: vectors[:, 0])
    default_fit = {"learned": {}}  # noqa: RUF012


def test_evidence_and_default_fit_are_those_of_the_embedder() -> None:
    own = Knowing()
    locked = LockedEmbedder(own)
    assert (locked.id, locked.dim, locked.name) == (own.id, own.dim, own.name)
    assert locked.place_evidence is own.place_evidence
    assert locked.default_fit is own.default_fit
    plain = LockedEmbedder(HistogramEmbedder())
    assert plain.place_evidence is None
    assert plain.default_fit is None
