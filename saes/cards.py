"""Model cards and pushing: dictionaries go to a repository of the hub as folders, with their cards, in one commit."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError
from bridge.hub import check_pushable, fetching
from bridge.store import write_together
from saes.checkpoints import CFG, WEIGHTS, read_folder, read_json, save
from saes.converters import dictionaries_in

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from saes.sae import SparseAutoencoder

CARD = "README.md"
MADE = "<!-- This page is made anew by `ventral sae push`; remove this line to keep your own text. -->"
TAGS = ["sparse-autoencoder", "mechanistic-interpretability", "ventral-bridge"]
METRICS = {"fvu": "FVU", "l0": "L0", "dead": "dead share", "dense": "dense share", "cosine": "cosine"}


# ----------------------------------------------------------------------------------------------------------- cards


def _place(of: tuple[str, object]) -> list[list[tuple[int, str]]]:
    """Where an id stands among others: folder by folder, numbers in them by size."""
    return [
        [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
        for name in of[0].split("/")
    ]


def card(cfgs: Mapping[str, Mapping[str, Any]], repository: str | None, licence: str | None = None) -> str:
    """A page for dictionaries by id, from their cfg.json: the hub's front matter, what they are, how well they do,
    what they were trained on, and how to load them. `repository` is None for a page that stands alone."""
    cfgs = dict(sorted(cfgs.items(), key=_place))
    metadata = [cfg.get("metadata") or {} for cfg in cfgs.values()]
    models = dict.fromkeys(str(entry["model_name"]) for entry in metadata if entry.get("model_name"))
    where = repository or "FOLDER"
    first = next(iter(cfgs), "ID")
    title = " and ".join(models) or "unnamed models"
    own = {str(about["licence"]) for about in metadata if about.get("licence")}
    stated = licence or (own.pop() if len(own) == 1 else None)
    return "\n".join(
        [
            _front_matter(models, stated),
            MADE,
            f"# Sparse autoencoders of {title}",
            "",
            _overview(cfgs, stated),
            "## Loading",
            "",
            "```python",
            "import saes",
            "",
            f'sae = saes.load("{where}", "{first}")  # measure it: activations=...',
            "```",
            "",
            "or with SAELens",
            "",
            "```python",
            "from sae_lens import SAE",
            "",
            f'sae = SAE.from_pretrained("{where}", "{first}")'
            if repository
            else f'sae = SAE.load_from_disk("{where}/{first}")',
            "```",
            "",
            *(_details(name, cfg) for name, cfg in cfgs.items()),
        ]
    )


def _front_matter(models: Iterable[str], licence: str | None) -> str:
    import yaml

    plain = (re.sub(r"^[^:/]*:", "", name) for name in models)
    base = [name for name in plain if re.fullmatch(r"[\w.-]+/[\w.-]+", name)]
    content: dict[str, Any] = {"library_name": "saelens", "tags": TAGS}
    if licence:
        content["license"] = licence
    if base:
        content["base_model"] = base
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def _overview(cfgs: Mapping[str, Mapping[str, Any]], licence: str | None) -> str:
    head = ["id", "model", "site", "architecture", "d_in", "latents", "k", "explained variance", *METRICS.values()]
    rows: list[list[Any]] = [[*head, "seed", "licence"]]
    rows.append(["---"] * len(rows[0]))
    for name, cfg in cfgs.items():
        about = cfg.get("metadata") or {}
        sites = about.get("sites") or [about.get("hook_name")]
        metrics = about.get("metrics") or {}
        trained = about.get("trained_as") or cfg.get("architecture")
        rows.append(
            [
                f"`{name}`",
                about.get("model_name"),
                ", ".join(str(site) for site in sites if site),
                trained if trained == cfg.get("architecture") else f"{trained} (as {cfg.get('architecture')})",
                cfg.get("d_in"),
                cfg.get("d_sae"),
                cfg.get("k") or ((about.get("training") or {}).get("architecture") or {}).get("k"),
                None if metrics.get("fvu") is None else _number(1 - metrics["fvu"]),
                *(_number(metrics.get(key)) for key in METRICS),
                about.get("seed", (about.get("training") or {}).get("seed")),
                about.get("licence") or licence,
            ]
        )
    return "\n".join(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows) + "\n"


def _details(name: str, cfg: Mapping[str, Any]) -> str:
    about = dict(cfg.get("metadata") or {})
    data, used = about.get("stimuli"), about.get("stimuli_used")
    lines = [f"## `{name}`", ""]
    count = f", {used['count']:,} stimuli of kind {used['kind']}" if isinstance(used, dict) else ""
    lines.append(f"Trained on: {_cell(data if not isinstance(data, dict) else json.dumps(data))}{count}.")
    if found := about.get("measured"):
        lines.append(f"Explained variance when it was last loaded: {_number(found.get('explained_variance'))}.")
    lines += ["", "<details><summary>Configuration and provenance</summary>", "", "```json"]
    return "\n".join([*lines, json.dumps(cfg, indent=1, ensure_ascii=False), "```", "", "</details>", ""])


def _number(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _cell(value: Any) -> str:
    """A value inside a table of Markdown; what is not known is said so."""
    return "not stated" if value in (None, "") else re.sub(r"\s+", " ", str(value)).replace("|", r"\|")


def write_pages(folder: Path, ids: Sequence[str], repository: str | None = None, licence: str | None = None) -> None:
    """Write the page of each dictionary of a folder, by id, and the one of all into the folder itself.

    Raises InputError for what is no dictionary, StorageError where nothing can be written.
    """
    cfgs = {name: read_json(folder / name / CFG, "a dictionary has it") for name in ids}
    pages = {folder / name / CARD: card({name: cfg}, repository, licence) for name, cfg in cfgs.items()}
    write_together({**pages, folder / CARD: card(cfgs, repository, licence)})


# --------------------------------------------------------------------------------------------------------- pushing


@dataclass(frozen=True)
class Pushed:
    """What a push made."""

    repository: str
    commit: str
    ids: tuple[str, ...]


def push(
    dictionaries: SparseAutoencoder | Path | str | Mapping[str, SparseAutoencoder | Path | str],
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    licence: str | None = None,
    replace: bool = False,
    keep: bool = False,
    message: str | None = None,
) -> Pushed:
    """Put dictionaries into a repository `user/name`, made if needed, as folders, in one commit.

    `dictionaries` are dictionaries or their folders by id; a folder alone stands under its own name (a folder of
    folders: each under its name), a dictionary alone under its site's. `revision` is a branch, made from main if
    needed. Every folder gets a card; the repository's own page lists all of its dictionaries, unless somebody wrote
    one by hand. With `keep`, dictionaries that stand there already just as they are here stay; where all do, nothing is
    committed.

    Raises ConfigError for names that cannot be, ids that are taken (unless `replace`) and a repository of another
    visibility than asked for; InputError for damaged dictionaries; UnreachableError without a network, a token, or
    the rights.
    """
    from huggingface_hub import HfApi

    check_pushable(repository)
    with tempfile.TemporaryDirectory() as scratch:
        folders = _folders(dictionaries, Path(scratch))
        for folder in folders.values():
            read_folder(folder)  # nothing damaged is published
        api = HfApi()
        with fetching(repository, "reached"):
            there, head = _prepared(api, repository, revision, private)
            taken = [name for name in folders if any(path.startswith(f"{name}/") for path in there)]
            ids = tuple(folders)
            if keep:
                same = [name for name in taken if _same(api, repository, head, there, name, folders[name])]
                taken = [name for name in taken if name not in same]
                folders = {name: folder for name, folder in folders.items() if name not in same}
                if not folders:
                    return Pushed(repository, head, ids)
            if taken and not replace:
                raise ConfigError(
                    f"{repository} already has {', '.join(taken)}; push under another id, or say that it is to be "
                    "replaced (--replace)."
                )
            commit = _committed(api, repository, revision, folders, there, head, licence, message)
    return Pushed(repository, commit, ids)


def _folders(given: Any, scratch: Path) -> dict[str, Path]:
    """Folders by id; dictionaries in memory are saved into `scratch`."""
    if not isinstance(given, Mapping):
        given = named_folders(Path(given)) if isinstance(given, str | Path) else {given.site or "sae": given}
    folders: dict[str, Path] = {}
    for name, entry in given.items():
        parts = name.split("/")
        if not all(re.fullmatch(r"[\w. ,=+-]+", part) and part.strip(".") for part in parts):
            raise ConfigError(f"{name!r} cannot be a dictionary's id: give letters, digits and .-_ between slashes.")
        folders[name] = Path(entry) if isinstance(entry, str | Path) else save(entry, scratch / str(len(folders)))
    if not folders:
        raise ConfigError("There are no dictionaries to push.")
    return folders


def named_folders(folder: Path) -> dict[str, Path]:
    """The dictionaries' folders that a folder is or holds, by the names that they go by on the hub.

    Raises ConfigError if there are none.
    """
    if (folder / CFG).is_file() or (folder / WEIGHTS).is_file():
        return {folder.resolve().name: folder}
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name in (CFG, WEIGHTS)]
    if not names:
        raise ConfigError(f"{folder} holds no dictionary (a folder with {CFG} and {WEIGHTS}).")
    return {name: folder / name for name in dictionaries_in(names)}


def _prepared(api: HfApi, repository: str, revision: str | None, private: bool | None) -> tuple[list[str], str]:
    """The repository's files on the branch, and its commit; both made if needed."""
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    try:
        api.create_repo(repository, private=private, exist_ok=False)
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 409:
            raise
        found = api.model_info(repository, timeout=20)
        if private is not None and bool(found.private) != private:
            raise ConfigError(
                f"{repository} exists and is {'private' if found.private else 'public'}, and it is to be "
                f"{'private' if private else 'public'}; change that in its settings, or leave the choice out."
            ) from error
    try:
        info = api.model_info(repository, revision=revision, timeout=20)
    except RevisionNotFoundError:
        api.create_branch(repository, branch=str(revision), exist_ok=True)
        info = api.model_info(repository, revision=revision, timeout=20)
    return [entry.rfilename for entry in info.siblings or []], str(info.sha)


def _same(api: HfApi, repository: str, head: str, there: Sequence[str], name: str, folder: Path) -> bool:
    """Whether a repository has this very dictionary: by its configuration, which holds the weights' sha256."""
    if not {f"{name}/{CFG}", f"{name}/{WEIGHTS}"} <= set(there):
        return False
    found = read_json(Path(api.hf_hub_download(repository, f"{name}/{CFG}", revision=head)), "it is there")
    return "sha256" in found and found == read_json(folder / CFG, "a dictionary has it")


def _committed(
    api: HfApi,
    repository: str,
    revision: str | None,
    folders: Mapping[str, Path],
    there: Sequence[str],
    head: str,
    licence: str | None,
    message: str | None,
) -> str:
    """One commit with all folders and cards; its id."""
    from huggingface_hub import CommitOperationAdd

    cfgs = {name: read_json(folder / CFG, "a dictionary has it") for name, folder in folders.items()}
    contents: dict[str, Path | bytes] = {}
    for name, folder in folders.items():
        contents |= {f"{name}/{file}": folder / file for file in (CFG, WEIGHTS)}
        contents[f"{name}/{CARD}"] = card({name: cfgs[name]}, repository, licence).encode()

    def fetched(path: str) -> Path:
        return Path(api.hf_hub_download(repository, path, revision=head))

    if CARD not in there or MADE in fetched(CARD).read_text(encoding="utf-8"):
        older = [path.removesuffix(f"/{CFG}") for path in there if path.endswith(f"/{CFG}")]
        known = {name: read_json(fetched(f"{name}/{CFG}"), "it is there") for name in older if name not in cfgs}
        contents[CARD] = card({**known, **cfgs}, repository, licence).encode()
    info = api.create_commit(
        repository,
        [CommitOperationAdd(path, content) for path, content in contents.items()],
        commit_message=message or f"Sparse autoencoders: {', '.join(folders)}"[:200],
        revision=revision,
        parent_commit=head,
    )
    return str(info.oid)
