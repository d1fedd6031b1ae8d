"""The variable-length encoding of the Yjs protocols (npm `lib0`, encoding.js and decoding.js).

An unsigned integer is a sequence of little-endian groups of seven bits; the high bit is set on all groups but the last.
Byte arrays and UTF-8 strings are preceded by their length. The decoder never reads past the end. It refuses unsigned
integers of more than 53 bits, because a JavaScript peer cannot represent them. It also refuses integers with leading
zeros, because decoders read them differently.
"""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that JavaScript represents exactly (`Number.MAX_SAFE_INTEGER`)."""


class Malformed(ValueError):
    """Bytes that break the rules of their encoding."""


def encode_uint(value: int) -> bytes:
    """Encode an unsigned integer."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(0x80 | (value & 0x7F))
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_text(value: str) -> bytes:
    """Encode a string as UTF-8, preceded by its length in bytes."""
    encoded = value.encode()
    return encode_uint(len(encoded)) + encoded


class Encoder:
    """A buffer that values are appended to. The methods return the encoder, so calls can be chained."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def uint(self, value: int) -> "Encoder":
        """Append an unsigned integer."""
        if 0 <= value < 0x80:
            self._buffer.append(value)
        else:
            self._buffer += encode_uint(value)
        return self

    def buffer(self, value: bytes) -> "Encoder":
        """Append a byte array, preceded by its length."""
        self.uint(len(value))
        self._buffer += value
        return self

    def text(self, value: str) -> "Encoder":
        """Append a string as UTF-8, preceded by its length in bytes."""
        return self.buffer(value.encode())

    def raw(self, value: bytes | bytearray) -> "Encoder":
        """Append bytes without a length."""
        self._buffer += value
        return self

    def finish(self) -> bytes:
        """Return all bytes appended so far."""
        return bytes(self._buffer)


class Decoder:
    """A reader of encoded values. Its methods raise `Malformed`.

    `position` is the offset of the next byte. The caller may change it.
    """

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def done(self) -> bool:
        """Return whether all bytes have been read."""
        return self.position >= len(self._data)

    def byte(self) -> int:
        """Read one byte."""
        position = self.position
        if position >= len(self._data):
            raise Malformed("the data ends where another byte is expected")
        self.position = position + 1
        return self._data[position]

    def flag(self) -> bool:
        """Read a byte that is 0 or 1, as a boolean."""
        value = self.byte()
        if value > 1:
            raise Malformed("a flag is neither 0 nor 1")
        return value == 1

    def uint(self) -> int:
        """Read an unsigned integer."""
        data, position = self._data, self.position
        try:
            byte = data[position]
            position += 1
            if byte < 0x80:
                self.position = position
                return byte
            value, shift = byte & 0x7F, 7
            while True:
                byte = data[position]
                position += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 49:
                    raise Malformed("an integer has more than 53 bits")
        except IndexError:
            raise Malformed("the data ends within an integer") from None
        if value > MAX_SAFE_INTEGER:
            raise Malformed("an integer has more than 53 bits")
        if not byte:
            raise Malformed("an integer has leading zeros")
        self.position = position
        return value

    def skip_int(self) -> None:
        """Skip a signed integer of at most 55 bits: the first byte has the sign and six bits, the others seven."""
        byte = self.byte()
        if byte < 0x80:
            return
        for _ in range(7):
            byte = self.byte()
            if byte < 0x80:
                break
        if byte >= 0x80 or not byte:
            raise Malformed("an integer has more than 55 bits or leading zeros")

    def skip(self, length: int) -> None:
        """Skip `length` bytes."""
        end = self.position + length
        if end > len(self._data):
            raise Malformed("the data ends within a byte array")
        self.position = end

    def buffer(self) -> bytes:
        """Read a byte array that is preceded by its length."""
        length = self.uint()
        start = self.position
        self.skip(length)
        return self._data[start : self.position]

    def text(self) -> str:
        """Read a UTF-8 string that is preceded by its length in bytes."""
        # The lines of `buffer` and `skip` are repeated here, because each struct has strings, and method calls would
        # take most of the time.
        length = self.uint()
        start = self.position
        end = start + length
        if end > len(self._data):
            raise Malformed("the data ends within a byte array")
        self.position = end
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise Malformed("a string is not UTF-8") from error

    def rest(self) -> bytes:
        """Read all remaining bytes."""
        value = self._data[self.position :]
        self.position = len(self._data)
        return value
