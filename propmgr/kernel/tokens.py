"""Signed link tokens: what stands behind a QR code or a link that somebody may open without logging in.

Decides the form of a token and whether one is ours; never what it opens, and never whether its version still holds (the
object says that: raising its version revokes every token printed before).

A token is `kind, organisation, object, version` and the first 128 bits of an HMAC over them, in upper-case base32: QR
codes hold that in their denser alphanumeric mode, and it survives being typed or sent through a text message. The same
four values always give the same token, so a reprinted bill carries the same code.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from propmgr.kernel.errors import NotFound

_MAC_BYTES = 16
#: Longest token: a kind, three numbers below 2^63, the MAC. Longer text is not even decoded.
_MOST_CHARACTERS = 71
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. `kind` is 1..255, one number for each page that opens by token; the others are 0..2^63-1."""

    kind: int
    tenant_id: int
    object_id: int
    version: int = 0


def link_key(secret_key: str) -> bytes:
    """The key of all links, derived from the installation's secret so that no other use of it can forge one."""
    return hmac.digest(secret_key.encode(), b"propmgr links 1", hashlib.sha256)


def sign(key: bytes, link: Link) -> str:
    """The token of a link: 32 to 71 characters of A-Z and 2-7."""
    assert 0 < link.kind < 256 and all(0 <= n <= _LARGEST for n in (link.tenant_id, link.object_id, link.version))
    body = bytes([link.kind]) + b"".join(_packed(n) for n in (link.tenant_id, link.object_id, link.version))
    return base64.b32encode(body + _mac(key, body)).decode().rstrip("=")


def read(key: bytes, token: str, kind: int) -> Link:
    """What the token says, if it is ours and of this kind; small letters are taken as well.

    Raises NotFound for everything else: forged, cut, of another kind, written in another way than `sign` writes it.
    """
    if not token.isascii() or len(token) > _MOST_CHARACTERS:
        raise NotFound("This link is not valid.")
    text = token.upper()
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error as error:
        raise NotFound("This link is not valid.") from error
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    # Compared before anything in it is looked at; of what we signed ourselves, the form is known.
    if not body or not hmac.compare_digest(mac, _mac(key, body)) or body[0] != kind:
        raise NotFound("This link is not valid.")
    numbers = _unpacked(body[1:])
    link = Link(kind, *numbers)
    if sign(key, link) != text:
        raise NotFound("This link is not valid.")  # bits behind the last byte: another spelling of the same token
    return link


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_MAC_BYTES]


def _packed(number: int) -> bytes:
    """Seven bits a byte, lowest first, the top bit set on all but the last."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _unpacked(data: bytes) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    return numbers
