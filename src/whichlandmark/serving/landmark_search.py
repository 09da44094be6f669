"""Search of landmarks by their names, whatever the accents, with small typos and missing blanks."""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..gallery.records import LandmarkRecord

MAX_WORDS = 16  # of a query; what comes after them is not compared

MAX_TYPO_LETTERS = 40  # longer words are compared without typos

MAX_CHANGED = 500  # landmarks whose names are prepared apart from the others

JOINED_WORDS = 3  # neighbouring words of a name that a query may write without blanks

# How well a word of a query fits a word of a name.
EXACT, PREFIX, ONE_TYPO, TWO_TYPOS, TYPO_IN_PREFIX, MIDDLE = 1.0, 0.85, 0.7, 0.6, 0.5, 0.4

# Letters that no Unicode decomposition takes apart.
_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i",
     "ħ": "h", "ŧ": "t", "ŋ": "n", "ə": "a", "ƒ": "f", "ĳ": "ij"}
)  # fmt: skip

_NOT_ASCII_WORD = re.compile(r"[^a-z0-9]+")


def folded(text: str) -> list[str]:
    """The words of a name without case, punctuation, and accents of letters that have such.

    Marks of scripts in which they are letters of their own stay: Devanagari, Thai, kana, й, ….
    """
    if text.isascii():
        return _NOT_ASCII_WORD.sub(" ", text.lower()).split()
    kept, base = [], ""
    for letter in unicodedata.normalize("NFKD", text.translate(_LETTERS).casefold()):
        kind = unicodedata.category(letter)
        if kind[0] == "M":
            accent = base < "\u0700" and not (base >= "\u0400" and letter == "\u0306")
            kept.append("" if accent else letter)
        elif kind != "Cf":  # such as soft hyphens and joiners, which no one types
            base = letter
            kept.append(letter if kind[0] in "LN" else " ")
    return unicodedata.normalize("NFC", "".join(kept)).translate(_LETTERS).split()


class LandmarkSearch:
    """Finds the landmarks of a gallery by their labels, titles, names and Wikidata ids.

    Preparing the names of 30,000 landmarks takes seconds, so those that are as they were when an
    older generation was prepared are not prepared again.

    Args:
        labels: The landmarks, in the order of their codes.
        records: Label → its record.
        older: The search of an older generation; None = prepare all names.
    """

    def __init__(
        self,
        labels: Sequence[str],
        records: Mapping[str, LandmarkRecord],
        older: LandmarkSearch | None = None,
    ) -> None:
        self._labels, self._parts = labels, list[tuple[_Names, NDArray[np.int64]]]()
        changed = list(labels)
        if older is not None and older._parts:
            first = older._parts[0][0]
            known = set(first.labels)
            new = [one for one in labels
                   if one not in known or records.get(one) != first.records.get(one)]  # fmt: skip
            if len(new) <= max(MAX_CHANGED, len(labels) // 20):
                changed = new
                self._add(first, {*changed})
        if changed:
            self._add(_Names(changed, records), set())

    def _add(self, names: _Names, but: set[str]) -> None:
        """Search these names too, but not those of some landmarks."""
        code_of = {label: code for code, label in enumerate(self._labels) if label not in but}
        codes = np.array([code_of.get(label, -1) for label in names.labels], dtype=np.int64)
        self._parts.append((names, codes))

    def find(self, query: str, order: Sequence[int]) -> list[int]:
        """Codes of the landmarks that have all words of a query, in any order; the best first.

        A word is found as a whole, as the beginning of a word, with a typo (two from 8 letters on,
        none below 4 but two letters swapped), and in the middle of a word; blanks may be missing or
        too many. Where no landmark has all words, those that have half of the letters are found.

        Args:
            query: In any case and with any accents and punctuation.
            order: All codes, in the order of those that fit equally well.
        """
        words = list(dict.fromkeys(folded(query)))[:MAX_WORDS]
        if not words:  # nothing but signs
            wanted = query.strip().casefold()
            return [code for code in order if wanted in self._labels[code].casefold()]
        score = np.zeros(len(self._labels), dtype=np.float32)
        whole = np.zeros(len(self._labels), dtype=bool)
        for names, codes in self._parts:
            there = codes >= 0
            fits, complete = names.scores(words)
            score[codes[there]], whole[codes[there]] = fits[there], complete[there]
        if whole.any():
            score[~whole] = 0
        ranked = np.asarray(order, dtype=np.int64)
        ranked = ranked[np.argsort(-score[ranked], kind="stable")]
        return [int(code) for code in ranked[: np.count_nonzero(score)]]


class _Names:
    """The names of landmarks, prepared for `scores`. Arguments as of `LandmarkSearch`."""

    def __init__(self, labels: Sequence[str], records: Mapping[str, LandmarkRecord]) -> None:
        self.labels, self.records = labels, records
        self._wikidata: dict[str, list[int]] = {}
        numbers: dict[str, int] = {}  # word, or neighbouring words joined → its number
        word_numbers: set[int] = set()  # those of single words
        pairs = array("q")  # number, name; number, name; …
        first_names: list[int] = []  # of each landmark its first name
        letters: list[int] = []  # of each name
        for code, label in enumerate(labels):
            record = records.get(label)
            texts = [label] if record is None else [label, record.title, *record.names.values()]
            first_names.append(len(letters))
            for words in dict.fromkeys(tuple(folded(text)) for text in texts if text) or [()]:
                for word, single in _runs(words):
                    number = numbers.setdefault(word, len(numbers))
                    pairs.extend((number, len(letters)))
                    if single:
                        word_numbers.add(number)
                letters.append(sum(map(len, words)))
            if record is not None and record.wikidata:
                self._wikidata.setdefault(record.wikidata.lower(), []).append(code)
        self._first_names = np.array(first_names, dtype=np.int64)
        self._letters = np.maximum(np.array(letters, dtype=np.float32), 1)
        self._words = _sorted(numbers)
        place = np.empty(len(numbers), dtype=np.int64)
        place[[numbers[word] for word in self._words]] = np.arange(len(numbers))
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        table[:, 0] = place[table[:, 0]]
        table = table[np.argsort(table[:, 0], kind="stable")]
        self._names = table[:, 1]
        self._starts = np.searchsorted(table[:, 0], np.arange(len(numbers) + 1))
        self._lengths = np.array([len(word) for word in self._words], dtype=np.int32)
        self._masks = _masks(self._words)
        self._single = np.zeros(len(self._words), dtype=bool)
        self._single[place[list(word_numbers)]] = True
        self._singles = np.flatnonzero(self._single)
        singles = [self._words[at] for at in self._singles]
        self._text = "\n" + "\n".join(singles)
        self._at = np.cumsum([0, *(len(word) + 1 for word in singles)])

    def scores(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """How well each landmark fits folded words of a query, and whether it has all of them.

        Landmarks with less than half of the letters get 0.
        """
        fits = [self._fits(word, middle=True) for word in words]
        for i in range(len(words) - 1):
            joined = self._fits(words[i] + words[i + 1], middle=False)
            for one in fits[i : i + 2]:
                np.maximum(one, joined, out=one)
        by_name = np.stack(fits)
        by_landmark = np.maximum.reduceat(by_name, self._first_names, axis=1)
        lengths = np.array([len(word) for word in words], dtype=np.float32)
        has = lengths @ (by_landmark > 0)
        # Rare words say more than "Museum".
        rarity = len(self.labels) / np.maximum(1, (by_landmark > 0).sum(axis=1))
        weights = lengths * np.log1p(rarity)
        weights /= weights.sum()
        covered = np.minimum(lengths.sum(), self._letters) / self._letters
        in_name = (weights @ by_name) * (0.2 + 0.3 * covered)
        best = np.maximum.reduceat(in_name, self._first_names)
        score = np.where(2 * has >= lengths.sum(), weights @ by_landmark + best, 0)
        whole = has == lengths.sum()
        if len(words) == 1 and re.fullmatch(r"q[0-9]+", words[0]):
            for known, codes in self._wikidata.items():
                if known.startswith(words[0]):
                    score[codes] = 3 if known == words[0] else np.maximum(score[codes], 1)
                    whole[codes] = True
        return score.astype(np.float32), whole

    def _fits(self, word: str, *, middle: bool) -> NDArray[np.float32]:
        """How well each name fits a word. middle: in the middle of its words too."""
        names = np.zeros(len(self._letters), dtype=np.float32)
        for found, fit in self._found(word, middle=middle):
            counts = self._starts[found + 1] - self._starts[found]
            ends = np.cumsum(counts)
            postings = np.arange(ends[-1] if len(ends) else 0)
            postings += np.repeat(self._starts[found] - ends + counts, counts)
            np.maximum.at(names, self._names[postings], np.repeat(fit, counts))
        return names

    def _found(
        self, word: str, *, middle: bool
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Places in `_words` that a word fits, and how well."""
        begin = bisect_left(self._words, word)
        prefixed = np.arange(begin, bisect_left(self._words, word + "\U0010ffff"))
        share = len(word) / self._lengths[prefixed]
        yield prefixed, np.where(share == 1, EXACT, PREFIX + 0.1 * share).astype(np.float32)
        if 3 <= len(word) <= MAX_TYPO_LETTERS and not any(letter.isdigit() for letter in word):
            yield from self._with_typos(word, 2 if middle and len(word) >= 8 else 1)
        if middle and (len(word) > 1 or not word.isascii()):
            at, places = self._text.find(word), []
            while at >= 0:
                places.append(at)
                at = self._text.find(word, at + 1)
            inside = np.unique(np.searchsorted(self._at, places, side="right") - 1)
            yield self._singles[inside], np.full(len(inside), MIDDLE, dtype=np.float32)

    def _with_typos(
        self, word: str, typos: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        mine = _masks([word])[0]
        rows = np.flatnonzero(np.abs(self._lengths - len(word)) <= typos)
        masks = self._masks[rows]
        lacking, more = np.bitwise_count(mine & ~masks), np.bitwise_count(masks & ~mine)
        rows = rows[(lacking <= typos) & (more <= typos)]
        distances = _distances(word, [self._words[row] for row in rows])
        allowed = np.where(self._single[rows], typos, 1)
        if len(word) == 3:  # two letters swapped, and nothing else
            allowed[[sorted(self._words[row]) != sorted(word) for row in rows]] = 0
        kept = distances <= allowed
        yield rows[kept], np.where(distances[kept] < 2, ONE_TYPO, TWO_TYPOS).astype(np.float32)
        if len(word) < 5:
            return
        begin, end = (bisect_left(self._words, word[0] + high) for high in ("", "\U0010ffff"))
        rows = begin + np.flatnonzero(
            self._single[begin:end] & (self._lengths[begin:end] > len(word))
        )
        rows = rows[np.bitwise_count(mine & ~self._masks[rows]) <= typos]
        heads = [self._words[row][: len(word) + typos] for row in rows]
        rows = rows[_distances(word, heads, prefix=True) <= typos]
        yield rows, np.full(len(rows), TYPO_IN_PREFIX, dtype=np.float32)


def _sorted(words: Iterable[str]) -> list[str]:
    """`sorted`, in steps that let other threads run: in one step it may hold the GIL for 1 s."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[:2], []).append(word)
    return [word for beginning in sorted(groups) for word in sorted(groups[beginning])]


def _runs(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The words of a name, neighbours joined, and all joined; is it a single word?"""
    for count in range(1, min(JOINED_WORDS, len(words)) + 1):
        for start in range(len(words) - count + 1):
            yield "".join(words[start : start + count]), count == 1
    if len(words) > JOINED_WORDS and len(whole := "".join(words)) <= MAX_TYPO_LETTERS:
        yield whole, False


def _masks(words: Sequence[str]) -> NDArray[np.uint32]:
    """Of each word one bit for each letter that it has, of 32."""
    masks = np.zeros(len(words), dtype=np.uint32)
    for start in range(0, len(words), 4096):
        part = np.array(words[start : start + 4096])
        letters = part.view(np.uint32).reshape(len(part), -1)
        bits = np.where(letters == 0, 0, np.uint32(1) << (letters & 31))
        masks[start : start + 4096] = np.bitwise_or.reduce(bits, axis=1)
    return masks


def _distances(word: str, others: Sequence[str], *, prefix: bool = False) -> NDArray[np.int64]:
    """Edit distance of a word to each of the others; two neighbours swapped count as one edit.

    prefix: to the beginning of the others that is nearest.
    """
    if not others:
        return np.empty(0, dtype=np.int64)
    letters = np.array(others).view(np.uint32).reshape(len(others), -1)
    columns = np.arange(letters.shape[1] + 1)
    last = row = np.tile(columns, (len(others), 1))
    for i, letter in enumerate(word):
        equal = letters == ord(letter)
        new = np.empty_like(row)
        new[:, 0] = i + 1
        new[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + ~equal)
        if i:
            swapped = equal[:, :-1] & (letters[:, 1:] == ord(word[i - 1]))
            new[:, 2:] = np.where(swapped, np.minimum(new[:, 2:], last[:, :-2] + 1), new[:, 2:])
        last, row = row, np.minimum.accumulate(new - columns, axis=1) + columns
    lengths = np.array([len(one) for one in others])
    found: NDArray[np.int64] = row.min(axis=1) if prefix else row[np.arange(len(row)), lengths]
    return found
