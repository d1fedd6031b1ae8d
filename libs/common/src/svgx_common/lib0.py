"""The variable-length encoding that Yjs's protocols use (npm `lib0`, encoding.js and decoding.js).

Unsigned integers are little-endian groups of seven bits, the high bit set on all but the last; byte arrays and
UTF-8 strings carry their length in front. Decoding never reads past the end and refuses integers over 53 bits, the
largest a JavaScript peer can hold.
"""

MAX_SAFE_INTEGER = 2**53 - 1


class Malformed(ValueError):
    """Bytes that are not what the encoding says they are."""


class Encoder:
    """Appends values to a growing buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def uint(self, value: int) -> "Encoder":
        """Append an unsigned integer."""
        buffer = self._buffer
        while value > 0x7F:
            buffer.append(0x80 | (value & 0x7F))
            value >>= 7
        buffer.append(value)
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
    """Reads values from the front of a buffer; raises `Malformed` on anything else."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return self._position >= len(self._data)

    def uint(self) -> int:
        """Read an unsigned integer."""
        data, position = self._data, self._position
        value = shift = 0
        while True:
            if position >= len(data):
                raise Malformed("ends within an integer")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 49:
                raise Malformed("integer over 53 bits")
        if value > MAX_SAFE_INTEGER:
            raise Malformed("integer over 53 bits")
        self._position = position
        return value

    def buffer(self) -> bytes:
        """Read a byte array that has its length in front."""
        length = self.uint()
        end = self._position + length
        if end > len(self._data):
            raise Malformed("ends within a byte array")
        value = self._data[self._position : end]
        self._position = end
        return value

    def text(self) -> str:
        """Read a UTF-8 string."""
        try:
            return self.buffer().decode()
        except UnicodeDecodeError as error:
            raise Malformed("string is not UTF-8") from error

    def rest(self) -> bytes:
        """Read everything that is left."""
        value = self._data[self._position :]
        self._position = len(self._data)
        return value
