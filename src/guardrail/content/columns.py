"""How polars' and Arrow's tables and columns are written: names, types and the bytes of Arrow's own stream format.

However a column was cut, joined or computed, equal content gives equal bytes: it is copied first, which leaves behind what
stands beside the content (chunks, offsets, the bits under missing values).
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

from guardrail.content.codec import Codec, Write, buffer, scalar, tagged
from guardrail.content.errors import Unkeyable


def writer(_codec: Codec, cls: type) -> Write | None:
    """Return how values of a class are written, None where it is neither polars' nor Arrow's."""
    pl: Any = sys.modules.get("polars")
    if pl is not None:
        if cls is pl.DataFrame:
            return lambda value, _depth: _polars("polars.DataFrame", value)
        if cls is pl.Series:
            return lambda value, _depth: _polars("polars.Series", value.to_frame())
    pa: Any = sys.modules.get("pyarrow")
    if pa is None:
        return None
    if cls is pa.Table:
        return lambda value, _depth: _arrow("Table", value)
    if cls is pa.RecordBatch:
        return lambda value, _depth: _arrow("RecordBatch", pa.Table.from_batches([value]))
    if issubclass(cls, pa.Array | pa.ChunkedArray):
        tag = "ChunkedArray" if cls is pa.ChunkedArray else "Array"
        return lambda value, _depth: _arrow(tag, pa.table({"": value}))
    if issubclass(cls, pa.Scalar):
        return lambda value, _depth: _arrow("Scalar", pa.table({"": pa.repeat(value, 1)}))
    if cls is pa.Schema:
        return lambda value, _depth: tagged("Schema", (buffer(value.serialize()),))
    return None


def _polars(tag: str, frame: Any) -> bytes:
    pl: Any = sys.modules["polars"]
    for column in frame:
        if column.dtype == pl.Object:
            raise Unkeyable(f"[{column.name!r}]", "Object", "a kind of column whose content is not known")
    head = scalar((frame.shape, tuple([(name, repr(dtype)) for name, dtype in frame.schema.items()])))
    stream = io.BytesIO()
    if frame.width:
        rows = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
        frame[rows].rechunk().write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return tagged(tag, (head, buffer(stream.getbuffer())))


def _arrow(tag: str, table: Any) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    columns = [_copied(column) for column in table.columns]
    table = pa.Table.from_arrays(columns, schema=table.schema) if columns else table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return tagged(tag, (scalar(table.num_rows), buffer(sink.getvalue())))


def _copied(column: Any) -> Any:
    """Return a column as one chunk, with nothing under its missing values where Arrow can copy its type."""
    pa: Any = sys.modules["pyarrow"]
    if column.null_count:
        with contextlib.suppress(pa.ArrowNotImplementedError):
            column = column.take(pa.array(range(len(column))))
    return column.combine_chunks()
