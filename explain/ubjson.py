"""Reading Universal Binary JSON, the form in which XGBoost saves models. Typed arrays become NumPy arrays without a copy."""

from __future__ import annotations

import struct
from typing import Any

from batch_scoring.errors import StoreCorrupt

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_FORMATS = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
_WORDS = {"Z": None, "T": True, "F": False}


def read_ubjson(data: bytes) -> Any:
    """The value that ``data`` holds: dicts, lists, text, numbers; a strongly typed array is a big-endian NumPy array.

    Raises:
        StoreCorrupt: the bytes end early or hold a marker the format does not know.
    """
    try:
        return _Reader(data).value()
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise StoreCorrupt(
            "model", expected="UBJSON", found=f"{type(error).__name__}: {error}", fix="Restore the file or train again."
        ) from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def marker(self) -> str:
        self.at += 1
        return chr(self.data[self.at - 1])

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(_FORMATS[kind], self.data, self.at)
        self.at += struct.calcsize(_FORMATS[kind])
        return value

    def size(self) -> int:
        return int(self.number(self.marker()))

    def text(self) -> str:
        length = self.size()
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self) -> Any:
        match self.marker():
            case "{":
                return self.mapping()
            case "[":
                return self.array()
            case "S":
                return self.text()
            case "Z" | "T" | "F" as word:
                return _WORDS[word]
            case kind:
                return self.number(kind)

    def peek(self, wanted: str) -> bool:
        if chr(self.data[self.at]) != wanted:
            return False
        self.at += 1
        return True

    def mapping(self) -> dict[str, Any]:
        result = {}
        while not self.peek("}"):
            name = self.text()
            result[name] = self.value()
        return result

    def array(self) -> Any:
        import numpy as np

        if self.peek("$"):
            kind = self.marker()
            if self.marker() != "#":
                raise ValueError("a typed array without its length")
            length = self.size()
            values = np.frombuffer(self.data, dtype=_NUMBERS[kind], count=length, offset=self.at)
            self.at += values.nbytes
            return values
        if self.peek("#"):
            return [self.value() for _ in range(self.size())]
        result = []
        while not self.peek("]"):
            result.append(self.value())
        return result
