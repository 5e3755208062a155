"""`ventral sae ...`: sparse autoencoders from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.errors import ConfigError

app = typer.Typer(help="Sparse autoencoders: train, evaluate, share.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Sparse autoencoders: train, evaluate, share."""


@app.command()
def push(
    folders: Annotated[list[Path], typer.Argument(help="Dictionaries' folders, or a folder of such folders.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hugging Face hub; made if needed.")],
    id_: Annotated[
        list[str] | None, typer.Option("--id", help="Names in the repository, one a folder (default: the folders').")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if needed (default: main).")] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Who may see a repository that is made now.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence by the hub's short name, such as cc-by-4.0.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace dictionaries of the same name.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Put dictionaries into a repository of the hub, with their model cards, in one commit."""
    from saes.cards import named_folders
    from saes.cards import push as push_all

    chosen: dict[str, Path] = {}
    if id_ and len(id_) != len(folders):
        raise ConfigError(f"{len(id_)} --id were given for {len(folders)} folders; give one a folder, or none.")
    for folder, name in zip(folders, id_ or [""] * len(folders), strict=True):
        for own, path in ({name: folder} if name else named_folders(folder)).items():
            if own in chosen:
                raise ConfigError(f"Two folders would be {own!r} in {repository}; name them with --id.")
            chosen[own] = path
    done = push_all(
        chosen, repository, revision=revision, private=private, licence=licence, replace=replace, message=message
    )
    for name in done.ids:
        print(f"{done.repository} {name}")
    print(f"commit {done.commit}")
