"""`moinho ui`: what is served and looked at on this machine."""

from typing import Annotated

import typer

from flows.commands.options import StoreRoot, console, open_store


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    store: StoreRoot = None,
) -> None:
    """Open the MLflow UI on the store's runs, at http://127.0.0.1:5000."""
    from pipeline.tracking import serve_ui

    console.print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    raise typer.Exit(serve_ui(open_store(store).storage, port=port))
