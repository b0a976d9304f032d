"""Content codings made in parts: standard decoders take them for one body."""

import gzip
import io
import os
import struct
import sys
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.formats.coding import CODINGS, Assembly, encode_part

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_WINDOW_BYTES = 8 * 10**6
"""A decoder of HTTP bodies need not keep more than 8 MB: RFC 9659, section 3."""

CALL_BYTES = 4 * 2**20
"""The most that a worker codes at a time."""

DIGITS = b",".join(b"%d" % n for n in range(10**12 + 1, 10**12 + 700_000, 2))
"""As primes look: 14 bytes a value."""

parts = st.lists(st.binary(max_size=200), max_size=8)
every_coding = pytest.mark.parametrize("coding", CODINGS)


def body_of(coding: str, raws: Sequence[bytes]) -> bytes:
    """The body whose parts are coded one by one."""
    assembly = Assembly(coding)
    body = assembly.head()
    for raw in raws:
        coded = encode_part(coding, raw)
        assembly.add(coded.raw_bytes, coded.crc)
        body += coded.data
    return body + assembly.tail()


def window_bytes(frame: bytes) -> int:
    """How much a decoder must keep of what it decoded: RFC 8878, section 3.1.1.1."""
    magic, descriptor = struct.unpack_from("<IB", frame)
    assert magic == 0xFD2FB528
    if not descriptor & 0x20:  # not a single segment: the window has its own field
        exponent, mantissa = frame[5] >> 3, frame[5] & 7
        base = 1 << (10 + exponent)
        return base + base // 8 * mantissa
    flag = descriptor >> 6
    at = 5 + (0, 1, 2, 4)[descriptor & 3]  # behind the id of a dictionary
    size = int.from_bytes(frame[at : at + (1, 2, 4, 8)[flag]], "little")
    return size + 256 if flag == 1 else size


# --- both codings --------------------------------------------------------------------------------


@every_coding
@given(raw=st.binary(max_size=300))
def test_a_part_says_what_it_stands_for(coding: str, raw: bytes) -> None:
    """A part knows its length before it was coded and, for gzip, its check sum."""
    coded = encode_part(coding, memoryview(raw))
    assert coded.raw_bytes == len(raw)
    assert coded.crc == (zlib.crc32(raw) if coding == "gzip" else 0)


@every_coding
def test_a_coding_pays(coding: str) -> None:
    """Text of neighbouring numbers becomes less than half as long."""
    assert len(encode_part(coding, DIGITS[:CALL_BYTES]).data) < CALL_BYTES / 2


@every_coding
def test_a_part_of_a_body_can_be_decoded_when_it_arrives(coding: str) -> None:
    """A decoder that has the parts so far gives all that went into them: nothing is held back."""
    raws = [b"2,3,5,7,", b"11,13,", b"17"]
    assembly = Assembly(coding)
    decoder = zlib.decompressobj(31) if coding == "gzip" else None
    decoded = decoder.decompress(assembly.head()) if decoder else b""
    for number, raw in enumerate(raws):
        data = encode_part(coding, raw).data
        decoded += decoder.decompress(data) if decoder else zstd.decompress(data)
        assert decoded == b"".join(raws[: number + 1])


# --- gzip ----------------------------------------------------------------------------------------


@given(raws=parts)
def test_a_gzip_body_is_one_member(raws: list[bytes]) -> None:
    """However many parts it has, some of them empty, it is one member with nothing behind it."""
    body = body_of("gzip", raws)
    decoder = zlib.decompressobj(wbits=31)
    assert decoder.decompress(body) == b"".join(raws)
    assert decoder.eof
    assert decoder.unused_data == b""
    assert decoder.unconsumed_tail == b""


@given(raws=parts)
def test_a_gzip_body_is_decoded_by_gzip(raws: list[bytes]) -> None:
    """Python's `gzip`, which checks the check sum and the size, decodes it."""
    body = body_of("gzip", raws)
    assert gzip.decompress(body) == b"".join(raws)
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        assert file.read() == b"".join(raws)


def test_long_parts_of_gzip_are_decoded() -> None:
    """Parts of megabytes, compressible and not, make a body that `gzip` decodes."""
    raws = [DIGITS[:CALL_BYTES], os.urandom(2**20), bytes(2**20), b"\n"]
    assert gzip.decompress(body_of("gzip", raws)) == b"".join(raws)


@given(raw=st.binary(max_size=300))
def test_a_part_of_gzip_ends_at_a_byte(raw: bytes) -> None:
    """Every part ends with the empty stored block of a sync flush, so that any other can follow."""
    assert encode_part("gzip", raw).data.endswith(b"\x00\x00\xff\xff")


def test_the_size_in_gzip_is_modulo_2_to_the_32() -> None:
    """A body of more than 4 GiB says its length modulo 2^32 (RFC 1952, section 2.3.1)."""
    assembly = Assembly("gzip")
    for _ in range(3):
        assembly.add(2**31 + 2, 0)
    assert struct.unpack("<I", assembly.tail()[-4:]) == (2**31 + 6,)


def test_gzip_says_nothing_of_the_time_or_the_machine() -> None:
    """The head has no flags, no time and an unknown system: equal parts make equal bodies."""
    assert Assembly("gzip").head() == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
    assert body_of("gzip", [b"2,3", b",5"]) == body_of("gzip", [b"2,3", b",5"])


@given(raws=parts.filter(any), at=st.integers(0, 10**6))
def test_a_damaged_gzip_body_is_noticed(raws: list[bytes], at: int) -> None:
    """The check sum and the size at the end are those of this body and no other."""
    body = bytearray(body_of("gzip", raws))
    body[len(body) - 8 + at % 8] ^= 1 + at % 255
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(body)


# --- zstd ----------------------------------------------------------------------------------------


@given(raws=parts)
def test_a_zstd_body_is_a_sequence_of_frames(raws: list[bytes]) -> None:
    """The frames, one a part, decode to the whole at once and as a file."""
    body = body_of("zstd", raws)
    assert zstd.decompress(body) == b"".join(raws)
    with zstd.ZstdFile(io.BytesIO(body)) as file:
        assert file.read() == b"".join(raws)


@given(raw=st.binary(max_size=300))
def test_a_part_of_zstd_is_one_frame(raw: bytes) -> None:
    """One frame with the size of its content, without a dictionary, and nothing behind it."""
    data = encode_part("zstd", raw).data
    decoder = zstd.ZstdDecompressor()
    assert decoder.decompress(data) == raw
    assert decoder.eof
    assert decoder.unused_data == b""
    info = zstd.get_frame_info(data)
    assert info.decompressed_size == len(raw)
    assert info.dictionary_id == 0


@pytest.mark.parametrize("size", [0, 1, 300, 2**16, 2**20, CALL_BYTES, 4 * CALL_BYTES])
def test_a_window_of_zstd_is_one_that_every_client_has(size: int) -> None:
    """Whatever a part's length, no decoder needs more than the 8 MB that it must have for HTTP."""
    raw = (DIGITS * (size // len(DIGITS) + 1))[:size]
    data = encode_part("zstd", raw).data
    assert window_bytes(data) <= MOST_WINDOW_BYTES
    # A decoder told to refuse larger windows agrees.
    options = {int(zstd.DecompressionParameter.window_log_max): 23}
    assert zstd.decompress(data, options=options) == raw
