"""Link tokens: ours are read back exactly, nobody else's are, and there is one spelling of each."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propmgr.kernel.errors import NotFound
from propmgr.kernel.tokens import Link, link_key, read, sign

KEY = link_key("k" * 64)
number = st.integers(0, (1 << 63) - 1)
links = st.builds(Link, st.integers(1, 255), number, number, number)


@given(links)
def test_a_token_says_what_was_signed(link):
    token = sign(KEY, link)
    assert read(KEY, token, link.kind) == link == read(KEY, token.lower(), link.kind)
    assert sign(KEY, link) == token, "a reprint carries the same code"
    assert token.isascii() and token.isalnum() and token == token.upper() and 32 <= len(token) <= 71


@pytest.mark.parametrize(
    ("tenant", "unit", "characters"),
    [(12, 166_800, 36), (300, 1 << 41, 42), (20_000, (1 << 53) - 1, 47)],
)
def test_tokens_stay_short_enough_for_a_small_qr_code(tenant, unit, characters):
    """The lengths measured for QR codes of at most 33 x 33 modules."""
    assert len(sign(KEY, Link(1, tenant, unit))) <= characters


@given(links, st.data())
def test_every_other_text_is_refused(link, data):
    """One character changed, cut, added; read as another kind; signed by another installation."""
    token = sign(KEY, link)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").filter(lambda c: c != token[place]))
    others = [
        token[:place] + letter + token[place + 1 :],
        token[:-1],
        token + "A",
        token + "=",
        " " + token,
        sign(link_key("other" * 10), link),
    ]
    for other in others:
        with pytest.raises(NotFound):
            read(KEY, other, link.kind)
    with pytest.raises(NotFound):
        read(KEY, token, link.kind % 255 + 1)


@pytest.mark.parametrize("text", ["", "A", "=" * 8, "１２３", "A" * 72, "🧾" * 10, "A" * 32, "\0" * 32, "../../etc/passwd"])
def test_nonsense_is_refused(text):
    with pytest.raises(NotFound):
        read(KEY, text, 1)


@given(st.binary(max_size=60))
def test_whatever_bytes_are_encoded_are_refused(raw):
    with pytest.raises(NotFound):
        read(KEY, base64.b32encode(raw).decode().rstrip("="), 1)


def test_a_number_moved_between_fields_is_another_token():
    dice = random.Random(7)
    seen = {sign(KEY, Link(1, dice.randrange(300), dice.randrange(300), dice.randrange(3))) for _ in range(2000)}
    values = {(k.tenant_id, k.object_id, k.version) for k in (read(KEY, token, 1) for token in seen)}
    assert len(values) == len(seen)


@pytest.mark.parametrize("link", [Link(0, 1, 1), Link(256, 1, 1), Link(1, -1, 1), Link(1, 1, 1 << 63)])
def test_what_cannot_be_said_is_not_signed(link):
    with pytest.raises(AssertionError):
        sign(KEY, link)
