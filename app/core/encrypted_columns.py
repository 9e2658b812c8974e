"""Which columns hold sealed values, and what each value is bound to."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from sqlalchemy import LargeBinary, MetaData
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import mapped_column

_ENCRYPTED = "encrypted"

# The type of a column whose values `Seal` made. A column without this mark is forgotten when keys are rotated.
EncryptedColumn = Annotated[bytes, mapped_column(LargeBinary, info={_ENCRYPTED: True})]

RowId = UUID | bytes | str


@dataclass(frozen=True)
class ColumnLocation:
    """A column of sealed values; `row_id` is the table's primary key and `row_id_type` its PostgreSQL type."""

    table: str
    name: str
    row_id: str
    row_id_type: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"

    def associated_data(self, row_id: RowId) -> str:
        """What the value of a row is bound to: `<table>.<column>:<row id>`, an id of bytes in hexadecimal."""
        return f"{self}:{row_id.hex() if isinstance(row_id, bytes) else row_id}"


def find_encrypted_columns(metadata: MetaData) -> list[ColumnLocation]:
    """Every sealed column of these tables, in the order of their names. Raises ValueError where one cannot be bound."""
    found = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        for column in table.columns:
            if not column.info.get(_ENCRYPTED):
                continue
            if len(table.primary_key.columns) != 1:
                raise ValueError(f"{table.name} needs a primary key of one column, which {column.name} is bound to")
            (row_id,) = table.primary_key.columns
            type_name = row_id.type.compile(PGDialect())  # type: ignore[no-untyped-call]  # SQLAlchemy types no dialect
            found.append(ColumnLocation(table.name, column.name, row_id.name, type_name))
    return found
