"""Publishing a released model on the Hugging Face hub: never done by a stage, only when a person asks."""

from __future__ import annotations

import os
import re
from pathlib import Path

from contracts.errors import ConfigError, InputError, ResourceError

CARD = "README.md"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def push_to_hub(folder: Path, repository: str, *, private: bool = True, message: str = "", endpoint: str = "") -> str:
    """Upload a released folder as it is, its card included.

    Args:
        repository: `owner/name`, made where it is not there yet.
        private: whether a new repository is private.
        message: of the commit.
        endpoint: another hub than the public one.

    Returns:
        Address of the commit.

    Raises:
        ConfigError: no such name of a repository, or no token (HF_TOKEN).
        InputError: the folder holds no card or no weights: it is no release.
        ResourceError: the hub does not answer, or refuses.
    """
    require_repository(repository)
    if not (folder / CARD).is_file() or not list(folder.glob("*.safetensors")):
        raise InputError(f"{folder} holds no {CARD} beside its weights", do="run the stage release, and give its folder", where="hub")
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ConfigError("there is no token for the hub", do="set HF_TOKEN to one that may write", where="hub")
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=endpoint or None, token=token)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        done = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message or "Release by smolflow")
    except Exception as error:  # those of whichever HTTP client the library uses, and its own
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        do = "look at the network and at what the token may do; nothing here was changed"
        raise ResourceError(f"the hub did not take {repository}: {said}", do=do, where="hub") from None
    return str(done.commit_url)


def require_repository(name: str) -> None:
    """Refuse what is no `owner/name`.

    Raises:
        ConfigError: it is none.
    """
    if not _REPOSITORY.fullmatch(name):
        raise ConfigError(f"'{name}' names no repository", do="write owner/name", where="hub")
