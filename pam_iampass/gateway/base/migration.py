"""The numbered migrations, and the schema that the database has."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources

from pam_iampass.gateway.base.connection import Connection, WrongSchema
from pam_iampass.gateway.base.statements import one


@functools.cache
def migrations() -> Sequence[str]:
    """The SQL of each migration, the first one first."""
    folder = resources.files("pam_iampass.gateway") / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return [file.read_text(encoding="utf-8") for file in files]


async def schema_version(connection: Connection) -> int:
    exists = await one(connection, "SELECT to_regclass('schema_version') IS NOT NULL AS exists")
    if exists is None or not exists["exists"]:
        return 0
    found = await one(connection, "SELECT max(version) AS version FROM schema_version")
    return int(found["version"] or 0) if found else 0


async def require_schema(connection: Connection) -> int:
    """The version of the tables. Raises WrongSchema unless all migrations of this version were made."""
    version, wanted = await schema_version(connection), len(migrations())
    if version < wanted:
        what = f"the tables have version {version}, and this gateway needs {wanted}"
        raise WrongSchema(f"{what}: run pam-iampass-gateway migrate")
    return version
