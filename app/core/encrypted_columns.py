"""The type of an encrypted column, which columns have it, and what each value is bound to."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from sqlalchemy import LargeBinary, MetaData
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import mapped_column

_ENCRYPTED = "encrypted"

# The type of a column whose values `Encryption` made. Key rotation finds a column only by this mark.
EncryptedColumn = Annotated[bytes, mapped_column(LargeBinary, info={_ENCRYPTED: True})]

RowId = UUID | bytes | str


@dataclass(frozen=True)
class ColumnLocation:
    """A column of encrypted values.

    `row_id` is the name of the table's primary key, and `row_id_type` its PostgreSQL type.
    """

    table: str
    name: str
    row_id: str
    row_id_type: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"

    def associated_data(self, row_id: RowId) -> str:
        """Return what the value of a row is bound to: `<table>.<column>:<row id>`.

        A row id of bytes is written in hexadecimal.
        """
        return f"{self}:{row_id.hex() if isinstance(row_id, bytes) else row_id}"


def find_encrypted_columns(metadata: MetaData) -> list[ColumnLocation]:
    """Return every encrypted column of these tables, ordered by table name.

    Raises ValueError if a value could not be bound to its row.
    """
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
