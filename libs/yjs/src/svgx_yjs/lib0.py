"""The variable-length encoding that Yjs's protocols use (npm `lib0`, encoding.js and decoding.js).

Unsigned integers are little-endian groups of seven bits, the high bit set on all but the last; byte arrays and
UTF-8 strings carry their length in front. Decoding never reads past the end, refuses integers over 53 bits, the largest
a JavaScript peer can hold, and integers with zeros in front, of which some decoders make something else.
"""

MAX_SAFE_INTEGER = 2**53 - 1


class Malformed(ValueError):
    """Bytes that are not what the encoding says they are."""


def encode_uint(value: int) -> bytes:
    """An unsigned integer."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(0x80 | (value & 0x7F))
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_text(value: str) -> bytes:
    """A string as UTF-8 with its length in bytes in front."""
    encoded = value.encode()
    return encode_uint(len(encoded)) + encoded


class Encoder:
    """Appends values to a growing buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def uint(self, value: int) -> "Encoder":
        """Append an unsigned integer."""
        self._buffer += encode_uint(value)
        return self

    def buffer(self, value: bytes) -> "Encoder":
        """Append a byte array with its length in front."""
        self.uint(len(value))
        self._buffer += value
        return self

    def text(self, value: str) -> "Encoder":
        """Append a string as UTF-8 with its length in bytes in front."""
        return self.buffer(value.encode())

    def raw(self, value: bytes | bytearray) -> "Encoder":
        """Append bytes as they are."""
        self._buffer += value
        return self

    def finish(self) -> bytes:
        """Everything appended so far."""
        return bytes(self._buffer)


class Decoder:
    """Reads values from the front of a buffer; raises `Malformed` on anything else. `position` may be set."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return self.position >= len(self._data)

    def byte(self) -> int:
        """Read one byte."""
        position = self.position
        if position >= len(self._data):
            raise Malformed("ends where a byte should be")
        self.position = position + 1
        return self._data[position]

    def flag(self) -> bool:
        """Read an integer that is 0 or 1."""
        value = self.byte()
        if value > 1:
            raise Malformed("neither 0 nor 1")
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
                    raise Malformed("integer over 53 bits")
        except IndexError:
            raise Malformed("ends within an integer") from None
        if value > MAX_SAFE_INTEGER:
            raise Malformed("integer over 53 bits")
        if not byte:
            raise Malformed("integer with zeros in front")
        self.position = position
        return value

    def skip_int(self) -> None:
        """Read over a signed integer: six bits and the sign in the first byte, seven bits in each further one."""
        byte = self.byte()
        if byte < 0x80:
            return
        for _ in range(7):
            byte = self.byte()
            if byte < 0x80:
                break
        if byte >= 0x80 or not byte:
            raise Malformed("integer over 53 bits, or with zeros in front")

    def skip(self, length: int) -> None:
        """Read over so many bytes."""
        end = self.position + length
        if end > len(self._data):
            raise Malformed("ends within a byte array")
        self.position = end

    def buffer(self) -> bytes:
        """Read a byte array that has its length in front."""
        length = self.uint()
        start = self.position
        self.skip(length)
        return self._data[start : self.position]

    def text(self) -> str:
        """Read a UTF-8 string."""
        try:
            return self.buffer().decode()
        except UnicodeDecodeError as error:
            raise Malformed("string is not UTF-8") from error

    def rest(self) -> bytes:
        """Read everything that is left."""
        value = self._data[self.position :]
        self.position = len(self._data)
        return value
