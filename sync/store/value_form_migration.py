"""The migration to types of mapped attributes; part of sync/store/migrations."""

from __future__ import annotations

from sqlite_utils import Database


def add_value_forms(db: Database) -> None:
    """Keep how the values of a mapped attribute are written, and the data type its first value gave it in WebEngage."""
    db.execute("alter table attribute_owner add column form text check (form is null or property is not null)")
    db.execute(
        """
        alter table attribute_owner add column data_type text check (data_type is null
          or (property is not null and data_type in ('string', 'number', 'boolean', 'date', 'unknown')))
        """
    )
    # What the first value of these was, nobody noted: the next values need not be of its type.
    db.execute("update attribute_owner set data_type = 'unknown' where property is not null")
    db.execute("alter table run add column data_types text check (data_types is null or json_valid(data_types))")
