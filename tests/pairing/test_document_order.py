from __future__ import annotations

import hashlib

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.reading import Document
from megatron_sbp.pairing.document_order import DocumentOrder, OrderDigest, beside
from megatron_sbp.pairing.neighbors.vectors import Vectors

DOCUMENTS = [Document(f"d{number}", f"text {number}", {}) for number in range(5)]
CUTS = (slice(0, 2), slice(2, 2), slice(2, 5))


@pytest.fixture
def given(tmp_path):
    """Three files, the second without a row, each with what is known of it."""
    made = []
    for number, cut in enumerate(CUTS):
        some, file = DOCUMENTS[cut], tmp_path / f"{number}.npy"
        np.save(file, np.ones((len(some), 1), np.float16))
        digest = OrderDigest()
        for document in some:
            digest.add(document)
        files.write_json(beside(file), {"model": "some", **digest.as_dict(True)})
        made.append(file)
    return made


def check(given, documents, with_ids=True, model=None):
    order = DocumentOrder(given, model)
    order.check_lengths(Vectors(given))
    for document in documents:
        order.add(document)
    order.check(with_ids)


def change(file, **keys):
    known = files.read_json(beside(file)) | keys
    files.write_json(beside(file), {key: value for key, value in known.items() if value is not None})


def test_the_digest_is_what_the_page_says():
    digest = OrderDigest()
    for document in DOCUMENTS[:2]:
        digest.add(document)
    assert digest.as_dict(True)["ids_sha256"] == hashlib.sha256(b"d0\nd1\n").hexdigest()
    assert set(digest.as_dict(False)) == {"documents", "texts_sha256"} and digest.documents == 2


@pytest.mark.parametrize("with_ids", [True, False])
def test_the_order_that_was_embedded_passes_and_another_does_not(given, with_ids, capfd):
    check(given, DOCUMENTS, with_ids, "some")
    assert "trust" not in capfd.readouterr().err
    swapped = [*DOCUMENTS[:3], DOCUMENTS[4], DOCUMENTS[3]]
    key = "ids_sha256" if with_ids else "texts_sha256"
    with pytest.raises(InputError, match=r"the rows of 2\.npy are of other documents, or in") as caught:
        check(given, swapped, with_ids)
    assert caught.value.key == key and caught.value.file == beside(given[2])
    assert files.read_json(beside(given[2]))[key] in str(caught.value)


def test_where_ids_are_known_texts_may_differ(given):
    """Another cleaning of the same documents: their user's decision."""
    edited = [Document(document.id, document.text + "!", {}) for document in DOCUMENTS]
    check(given, edited)
    with pytest.raises(InputError, match=r"0\.npy\.json: 'texts_sha256'"):
        check(given, edited, with_ids=False)


def test_without_a_digest_the_order_is_taken_on_trust_and_said(given, capfd):
    change(given[0], ids_sha256=None, texts_sha256=None)
    beside(given[2]).unlink()
    check(given, DOCUMENTS[::-1])
    told = capfd.readouterr().err
    assert f"{given[0]} (the first of 2 such files) has no 0.npy.json with a digest of the documents" in told


def test_embeddings_of_another_model(given):
    with pytest.raises(InputError, match=r"0\.npy\.json: 'model': is 'some', and --model says 'other'"):
        DocumentOrder(given, "other")
    change(given[0], model=None)
    change(given[2], model="third")
    with pytest.raises(InputError, match=r"2\.npy\.json: 'model': is 'third', and .*1\.npy\.json says 'some'"):
        DocumentOrder(given)


def test_what_is_damaged_is_named(given):
    change(given[2], documents=4)
    with pytest.raises(InputError, match=r"2\.npy: has 3 rows, and 2\.npy\.json was written for 4"):
        check(given, DOCUMENTS)
    change(given[2], documents="3")
    with pytest.raises(InputError, match=r"2\.npy\.json: 'documents': must be a number, not '3'"):
        DocumentOrder(given)
    for text, message in (
        ("{", r"2\.npy\.json: not JSON, or damaged"),
        ("[]", r"2\.npy\.json: must hold an object, not list"),
    ):
        beside(given[2]).write_text(text)
        with pytest.raises(InputError, match=message):
            DocumentOrder(given)
