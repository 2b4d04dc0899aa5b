"""Settings: ``foretable.toml`` and ``FORETABLE_…`` variables, checked; an unknown one is an error.

A workspace is the folder that holds ``foretable.toml``. It is found by walking up from the working directory, as git
finds its repository, so every command, ``feast apply`` inside the feature repository and a Dagster process agree on it.
Relative paths are relative to the workspace. A variable wins over the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from batch_scoring.errors import SettingsError

FILE_NAME = "foretable.toml"
PREFIX = "FORETABLE_"
_WORKSPACE_VARIABLE = "FORETABLE_WORKSPACE"


class Settings(BaseSettings):
    """Where things are and how much of the machine to use.

    Attributes:
        workspace: folder of ``foretable.toml``; never set in the file itself.
        repo: the Feast feature repository. data: ingested Parquet. landing: where files are delivered. store: the
            versioned store.
        threads: cores used for training, scoring and explaining; changes no result.
        memory_limit: DuckDB's memory limit for features and builds, e.g. ``"2GB"``.
        host, port, workers: of ``foretable serve``.
        who: recorded as the actor of publishes and rollbacks; empty takes the login name.
        tracking: whether a process of its own brings MLflow up to date after every publish and rollback.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    workspace: Path
    repo: Path = Path("feature_repo")
    data: Path = Path("data")
    landing: Path = Path("landing")
    store: Path = Path("store")
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$")] = "2GB"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8321
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    who: str = ""
    tracking: Literal["off", "mlflow"] = "off"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the file."""
        workspace = init_settings()["workspace"]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(workspace) / FILE_NAME)

    def actor(self) -> str:
        """The name that publishes and rollbacks are recorded under."""
        if self.who:
            return self.who
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container user without a passwd entry
            return f"uid {os.getuid()}"

    def delivery(self, table: str) -> Path:
        """Folder of the last good delivery of a table: an atomic link, followed at every read."""
        return self.data / table / "current"

    def dataset(self, table: str, dataset: str) -> Path:
        """Parquet file of one ingested dataset."""
        return self.delivery(table) / f"{dataset}.parquet"


def find_workspace(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the working directory) with a ``foretable.toml``.

    Raises:
        SettingsError: there is none.
    """
    named = os.environ.get(_WORKSPACE_VARIABLE)
    here = Path(named) if named else (start or Path.cwd())
    here = here.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise SettingsError(
        "workspace",
        expected=f"a {FILE_NAME} in {here} or a folder above it",
        found="none",
        fix="Go to your repository, or make one here with 'foretable init .'.",
    )


def load_settings(workspace: Path | None = None) -> Settings:
    """Read the settings of a workspace.

    Args:
        workspace: its folder; by default found from the working directory.

    Raises:
        SettingsError: no workspace, a file that is not TOML, an unknown name, or a value that does not fit.
    """
    folder = find_workspace(workspace)
    _refuse_unknown_variables()
    try:
        settings = Settings(workspace=folder)
    except ValidationError as error:
        raise _explain(error, folder) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(folder / FILE_NAME), expected="TOML", found=str(error), fix="Mend that line.") from None
    paths = {name: _absolute(folder, getattr(settings, name)) for name in ("repo", "data", "landing", "store")}
    return settings.model_copy(update=paths)


def dataset_path(table: str, dataset: str) -> str:
    """Absolute path of an ingested dataset, for a Feast ``FileSource``: Feast would resolve a relative one elsewhere."""
    return str(load_settings().dataset(table, dataset))


def _absolute(folder: Path, path: Path) -> Path:
    return path if path.is_absolute() else folder / path


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"environment variable {unknown[0]}",
            expected=f"one of {', '.join(sorted(known))}",
            found=unknown[0],
            fix="Unset or rename it.",
        )


def _explain(error: ValidationError, folder: Path) -> SettingsError:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(set(Settings.model_fields) - {"workspace"}))
        return SettingsError(
            f"setting '{name}' in {folder / FILE_NAME}",
            expected=f"one of {known}",
            found=name,
            fix="Remove or rename it.",
        )
    return SettingsError(
        f"setting '{name}' ({PREFIX}{name.upper()} or {folder / FILE_NAME})",
        expected=first["msg"],
        found=repr(first["input"]),
        fix="Correct it.",
    )
