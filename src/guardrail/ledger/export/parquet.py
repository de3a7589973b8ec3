"""Apache Parquet through pyarrow: typed columns for analysis, and each record's bytes as stored in `line`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, Final

import orjson

from guardrail.errors import ConfigError
from guardrail.ledger.columns import COLUMNS, MORE, row
from guardrail.ledger.moments import micros
from guardrail.ledger.reader import Stored

_BATCH: Final = 10_000  # records in memory, and in a row group


def parquet(records: Iterator[Stored], out: BinaryIO, ledger: str) -> None:
    """Write a Parquet file; its metadata name the ledger.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError("an export to Parquet needs pyarrow", hint='pip install "guardrail-sdk[parquet]"') from None
    kinds = {
        "text": pa.string(), "moment": pa.timestamp("us", tz="UTC"), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(),
        "any": pa.string(), "texts": pa.list_(pa.string()),
    }  # fmt: skip
    fields = [pa.field(column.name, kinds[column.kind]) for column in COLUMNS]
    fields += [
        pa.field("lane", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field(MORE, pa.string()),
        pa.field("line", pa.binary()),
    ]
    schema = pa.schema(fields, metadata={"guardrail.ledger": ledger})
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while batch := list(islice(records, _BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist([_row(each) for each in batch], schema=schema))


def _row(found: Stored) -> dict[str, Any]:
    cells = row(found)
    for column in COLUMNS:
        value = cells[column.name]
        if value is None:
            continue
        if column.kind == "any":
            cells[column.name] = orjson.dumps(value).decode()
        elif column.kind == "moment":
            cells[column.name] = micros(value) or None
    cells[MORE] = None if cells[MORE] is None else orjson.dumps(cells[MORE]).decode()
    cells["line"] = found.line
    return cells
