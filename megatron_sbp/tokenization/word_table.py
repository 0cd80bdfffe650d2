"""Compiled parts of `words`: cutting text by GPT-2's rule, and a table of words with their ids."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED

OTHER, LETTER, NUMBER, SPACE, UNSURE = range(5)
"""Character classes."""

_MOST_WORDS, _LONGEST, _IDS_EACH = 1 << 18, 24, 12
_APOSTROPHE, _BLANK = 0x27, 0x20
_D, _E, _L, _M, _R, _S, _T, _V = (ord(letter) for letter in "delmrstv")


def empty(words: int = _MOST_WORDS) -> tuple[np.ndarray, ...]:
    """Creates an empty table.

    Args:
        words: capacity, a power of two.

    Returns:
        slots int32 (entry, or -1), hashes uint64 [words], characters uint32 [words, longest], lengths uint8 [words],
        ends of the ids int64 [words + 1], ids int32, and the number of words int64 [1].
    """
    return (
        np.full(2 * words, -1, np.int32),
        np.empty(words, np.uint64),
        np.empty((words, _LONGEST), np.uint32),
        np.empty(words, np.uint8),
        np.zeros(words + 1, np.int64),
        np.empty(words * _IDS_EACH, np.int32),
        np.zeros(1, np.int64),
    )


@numba.njit(cache=CACHED)
def _hash(characters: np.ndarray, begin: int, end: int) -> np.uint64:
    value = np.uint64(end - begin)
    for place in range(begin, end):
        value = (value ^ np.uint64(characters[place])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    return value


@numba.njit(cache=CACHED)
def _find(
    characters: np.ndarray, begin: int, end: int, value: np.uint64, table: tuple[np.ndarray, ...]
) -> tuple[np.int64, np.uint64]:
    """Entry of a word, or -1, and its slot. `table`: the first four of `empty`."""
    slots, hashes, words, lengths = table
    mask = np.uint64(len(slots) - 1)
    slot = value & mask
    while slots[slot] >= 0:
        entry = slots[slot]
        if hashes[entry] == value and lengths[entry] == end - begin:
            same = True
            for place in range(end - begin):
                if words[entry, place] != characters[begin + place]:
                    same = False
                    break
            if same:
                return np.int64(entry), slot
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1), slot


@numba.njit(cache=CACHED)
def word_end(characters: np.ndarray, begin: int, end: int, classes: np.ndarray, single_digits: bool) -> int:
    """End of the word that begins at this position, in a text that ends at `end`; no character may be UNSURE.

    GPT-2's rule: 's|'t|'re|'ve|'m|'ll|'d| ?letters| ?numbers| ?others|white space up to the last before a word|white
    space. With `single_digits`, the text is first split around every number, and each part is a separate text.
    """
    first = characters[begin]
    if first == _APOSTROPHE and begin + 1 < end:
        second = characters[begin + 1]
        if second in (_S, _T, _M, _D):
            return begin + 2
        third = characters[begin + 2] if begin + 2 < end else np.uint32(0)
        if (second in (_R, _V) and third == _E) or (second == _L and third == _L):
            return begin + 3
    place = begin
    if first == _BLANK and begin + 1 < end:
        following = classes[characters[begin + 1]]
        if following != SPACE and not (following == NUMBER and single_digits):
            place = begin + 1
    kind = classes[characters[place]]
    place += 1
    if kind == NUMBER and single_digits:
        return place
    while place < end and classes[characters[place]] == kind:
        place += 1
    if kind != SPACE or place - begin == 1 or place == end:
        return place
    if single_digits and classes[characters[place]] == NUMBER:
        return place
    return place - 1


@numba.njit(cache=CACHED)
def cut(
    characters: np.ndarray, ends: np.ndarray, classes: np.ndarray, single_digits: bool, known: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cuts texts into words. A text with UNSURE characters is a single, unknown word.

    Args:
        characters: of all texts, uint32.
        ends: of the texts, int64 [texts].
        classes: see `words.classes`.
        single_digits: whether every number is a separate word.
        known: see `empty`.

    Returns:
        entries of all words in `known`, -1 for unknown words, int32; words of every text, int64 [texts]; of the words
        without an entry: places in the first array, begins and ends in `characters`, int64.
    """
    table = known[0], known[1], known[2], known[3]
    entries = np.empty(len(characters), np.int32)
    counts = np.zeros(len(ends), np.int64)
    places = np.empty(len(characters), np.int64)
    begins = np.empty(len(characters), np.int64)
    stops = np.empty(len(characters), np.int64)
    words = missing = 0
    begin = 0
    for text in range(len(ends)):
        end = ends[text]
        sure = True
        for place in range(begin, end):
            if characters[place] >= len(classes) or classes[characters[place]] == UNSURE:
                sure = False
                break
        before = words
        while begin < end:
            stop = word_end(characters, begin, end, classes, single_digits) if sure else end
            entry = np.int64(-1)
            if sure and stop - begin <= _LONGEST:
                value = _hash(characters, begin, stop)
                entry, _ = _find(characters, begin, stop, value, table)
            if entry < 0:
                places[missing], begins[missing], stops[missing] = words, begin, stop
                missing += 1
            entries[words] = entry
            words += 1
            begin = stop
        counts[text] = words - before
    return entries[:words], counts, places[:missing], begins[:missing], stops[:missing]


@numba.njit(cache=CACHED)
def learn(
    characters: np.ndarray,
    begins: np.ndarray,
    stops: np.ndarray,
    new: tuple[np.ndarray, np.ndarray],
    known: tuple[np.ndarray, ...],
) -> None:
    """Adds words with their ids to the table until it is full; skips long words.

    `new`: the ids of all of them, int32, and where each one's end, int64 [words].
    """
    ids, id_ends = new
    slots, hashes, words, lengths, ends, kept, size = known
    for row in range(len(begins)):
        count = size[0]
        length = stops[row] - begins[row]
        first = id_ends[row - 1] if row else 0
        if length > _LONGEST or count == len(hashes) or ends[count] + id_ends[row] - first > len(kept):
            continue
        value = _hash(characters, begins[row], stops[row])
        entry, slot = _find(characters, begins[row], stops[row], value, (slots, hashes, words, lengths))
        if entry >= 0:  # a one-word text with UNSURE characters
            continue
        slots[slot], hashes[count], lengths[count] = count, value, length
        words[count, :length] = characters[begins[row] : stops[row]]
        ends[count + 1] = ends[count] + id_ends[row] - first
        kept[ends[count] : ends[count + 1]] = ids[first : id_ends[row]]
        size[0] = count + 1


@numba.njit(cache=CACHED)
def lengths(entries: np.ndarray, counts: np.ndarray, new_ends: np.ndarray, known: tuple[np.ndarray, ...]) -> np.ndarray:
    """Ids of every text: int32 [texts]; entries below 0 are -1 - (number of a new word)."""
    ends = known[4]
    result = np.zeros(len(counts), np.int32)
    word = 0
    for text in range(len(counts)):
        total = 0
        for entry in entries[word : word + counts[text]]:
            if entry >= 0:
                total += ends[entry + 1] - ends[entry]
            else:
                total += new_ends[-1 - entry] - (new_ends[-2 - entry] if entry < -1 else 0)
        result[text] = total
        word += counts[text]
    return result


@numba.njit(cache=CACHED)
def write(
    texts: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    known: tuple[np.ndarray, ...],
    closing: int,
    tokens: np.ndarray,
) -> None:
    """Concatenates the ids of all texts, each followed by `closing` unless it is negative.

    `texts`: entries and counts, as for `lengths`; `new`: see `learn`.
    """
    entries, counts = texts
    new_ids, new_ends = new
    ends, kept = known[4], known[5]
    word = place = 0
    for text in range(len(counts)):
        for entry in entries[word : word + counts[text]]:
            if entry >= 0:
                for number in range(ends[entry], ends[entry + 1]):
                    tokens[place] = kept[number]
                    place += 1
            else:
                for number in range(new_ends[-2 - entry] if entry < -1 else 0, new_ends[-1 - entry]):
                    tokens[place] = new_ids[number]
                    place += 1
        word += counts[text]
        if closing >= 0:
            tokens[place] = closing
            place += 1
