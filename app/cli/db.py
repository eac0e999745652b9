"""vmferry db: the schema of the service's database."""

from __future__ import annotations

import typer

from app.settings import load_settings

app = typer.Typer(help="The schema of the service's database.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the database to the schema of this version. `vmferry up` does so by itself."""
    from app.store import schema

    url = load_settings().database_url
    before = schema.current(url)
    schema.upgrade(url)
    after = schema.current(url)
    print(f"{after} (unchanged)" if after == before else f"{before or 'empty'} → {after}")


@app.command()
def current() -> None:
    """Print the schema version that the database has, and the one this version of vmferry needs."""
    from app.store import schema

    has, needs = schema.current(load_settings().database_url), schema.newest()
    print(f"{has or 'empty'} (current)" if has == needs else f"{has or 'empty'} (needs {needs}: vmferry db upgrade)")
