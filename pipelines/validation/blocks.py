"""A text file in blocks of whole records, so that a file of any size is parsed in the same memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from batch_scoring.declare import Csv, Lines
from pipelines.validation.source import bom_length

BLOCK = 32 << 20
"""Bytes read at a time. A smaller file is one block, so its checks see it whole."""

_SEPARATORS = ",;\t|"


class EndlessRecord(Exception):
    """A record longer than a block; its first line, counted from 1, is the argument."""


def blocks(path: Path, form: Csv | Lines, size: int = BLOCK) -> Iterator[tuple[bytes, Csv | Lines]]:
    """Each block as a text of its own, header included, with the form to parse it by.

    Raises:
        EndlessRecord: no record ends within ``size`` bytes; a quote is open, or this is no text of records.
    """
    head = b""
    with path.open("rb") as file:
        file.seek(bom_length(path))
        rest, first, line = b"", True, 1
        while chunk := file.read(size):
            rest += chunk
            end = _last_end(rest, form)
            if not end:
                if len(rest) > size:
                    raise EndlessRecord(line)
                continue
            block, rest = rest[:end], rest[end:]
            line += block.count(b"\n")
            yield head + block, form
            if first:
                first = False
                head, form = _afterwards(block, form)
        if rest or first:
            yield head + rest, form


def header(path: Path, form: Csv) -> tuple[str, ...]:
    """The names in a file's header; empty when the file is."""
    with path.open("rb") as file:
        file.seek(bom_length(path))
        text = file.readline(1 << 20)
        while text.count(b'"') % 2 and (more := file.readline(1 << 20)) and len(text) < 1 << 20:
            text += more
    reader = csv.reader(io.StringIO(text.decode("utf-8", errors="replace"), newline=""), delimiter=form.separator)
    return tuple(next(reader, ()))


def likely_separator(names: tuple[str, ...], separator: str) -> str:
    """Another separator that a header of one name seems to be written with; empty when none."""
    if len(names) != 1:
        return ""
    counts = {other: names[0].count(other) for other in _SEPARATORS if other != separator}
    best = max(counts, key=lambda other: counts[other])
    return best if counts[best] else ""


def _last_end(text: bytes, form: Csv | Lines) -> int:
    """Where the last whole record of a text ends, 0 if none does. A line break inside quotes ends no record."""
    end = text.rfind(b"\n") + 1
    match form:
        case Lines():
            return end
        case Csv():
            inside = text.count(b'"', 0, end) % 2
            while end and inside:
                before = text.rfind(b"\n", 0, end - 1) + 1
                inside ^= text.count(b'"', before, end) % 2
                end = before
            return end
        case _:
            assert_never(form)


def _afterwards(block: bytes, form: Csv | Lines) -> tuple[bytes, Csv | Lines]:
    """What goes before every later block, and its form: the header is repeated, skipped lines are not."""
    match form:
        case Lines():
            return b"", replace(form, skip=max(0, form.skip - block.count(b"\n")))
        case Csv():
            end = block.find(b"\n") + 1
            while end and block.count(b'"', 0, end) % 2:
                end = block.find(b"\n", end) + 1
            return block[:end], form
        case _:
            assert_never(form)
