"""The user's feature repository as Feast sees it: imported by its own code, in isolation, and applied once.

Feast imports every file by its bare name relative to the working directory (``flights.features``). Here that happens
between two snapshots of ``sys.path``, ``sys.modules`` and the working directory, so that the engine never keeps a
module of a user's repository and two repositories in one process cannot mix.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.repository import CHECKS, TABLE

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_contents import RepoContents

_ALONE = threading.RLock()  # the working directory and sys.path belong to the whole process
_STAMP = "feast_applied.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """What was applied last, and the registry file that it left."""

    definitions: str
    registry: str
    sha256: str


def open_store(settings: Settings) -> FeatureStore:
    """Feast's own view of the repository."""
    from feast import FeatureStore

    return FeatureStore(repo_path=str(settings.repo))


def read_definitions(settings: Settings) -> RepoContents:
    """The Feast objects that the repository declares; nothing is applied.

    Raises:
        DeclarationError: a file that cannot be imported.
    """
    from feast.repo_operations import parse_repo

    with _inside(settings) as repo:
        return parse_repo(repo)


def apply(settings: Settings) -> None:
    """``feast apply`` by Feast's own function; nothing happens when definitions and registry are as it left them.

    Raises:
        DeclarationError: definitions that Feast refuses.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    definitions = definitions_fingerprint(settings)
    with _one_process_at_a_time(settings.data / ".feast.lock"):
        if _up_to_date(settings, definitions):
            return
        from feast.repo_config import load_repo_config
        from feast.repo_operations import apply_total

        with _inside(settings) as repo:
            config = load_repo_config(repo, repo / "feature_store.yaml")
            apply_total(config, repo, skip_source_validation=True)  # the files may not be ingested yet
        _remember(settings, definitions, config)


@contextmanager
def registry_changes(settings: Settings) -> Iterator[None]:
    """Hold the registry while Feast notes in it what it has done; what was applied stays known as applied."""
    definitions = definitions_fingerprint(settings)
    with _one_process_at_a_time(settings.data / ".feast.lock"):
        current = _up_to_date(settings, definitions)
        try:
            yield
        finally:
            if current:
                from feast.repo_config import load_repo_config

                _remember(settings, definitions, load_repo_config(settings.repo, settings.repo / "feature_store.yaml"))


def definitions_fingerprint(settings: Settings) -> str:
    """Hash of everything in the repository that can define a feature, and of where its data is."""
    digest = hashlib.sha256(str(settings.data).encode())
    for file in sorted(settings.repo.rglob("*")):
        if file.suffix in (".py", ".yaml") and file.name not in (TABLE, CHECKS) and "__pycache__" not in file.parts:
            digest.update(f"\n{file.relative_to(settings.repo)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _inside(settings: Settings) -> Iterator[Path]:
    """The process as the Feast command would have it; put back afterwards. What goes wrong becomes a sentence."""
    repo = settings.repo.resolve()
    variables = {"FORETABLE_WORKSPACE": str(settings.workspace), "FORETABLE_DATA": str(settings.data)}
    with _ALONE:
        before = (Path.cwd(), list(sys.path), sys.dont_write_bytecode, {name: os.environ.get(name) for name in variables})
        spoken = io.StringIO()
        _forget_modules(repo)
        os.chdir(repo)
        os.environ.update(variables)
        sys.path.insert(0, str(repo))
        importlib.invalidate_caches()
        try:
            with redirect_stdout(spoken):
                yield repo
        except (Exception, SystemExit) as error:
            raise _explained(error, spoken.getvalue(), repo) from error
        finally:
            cwd, sys.path[:], sys.dont_write_bytecode, environment = before
            os.chdir(cwd)
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _forget_modules(repo)


def _forget_modules(repo: Path) -> None:
    """Drop what was imported under a name that the repository uses, from it or from another repository."""
    names = {path.stem for path in repo.iterdir() if path.is_dir() or path.suffix == ".py"}
    for module in [module for module in sys.modules if module.split(".")[0] in names]:
        del sys.modules[module]


def _explained(error: BaseException, spoken: str, repo: Path) -> BaseException:
    if isinstance(error, DeclarationError):
        return error
    reason = str(error).strip() if not isinstance(error, SystemExit) else spoken.strip()
    found = (reason.splitlines() or [type(error).__name__])[-1].rstrip(".")
    return DeclarationError(
        f"feature repository {repo.name}",
        expected="definitions that Feast can apply",
        found=f"{type(error).__name__}: {found}",
        fix=f"Run 'feast plan' in {repo.name} to see it in full.",
    )


def _up_to_date(settings: Settings, definitions: str) -> bool:
    try:
        applied = from_json((settings.data / _STAMP).read_bytes(), _Applied)
        return applied.definitions == definitions and applied.sha256 == _sha256(Path(applied.registry))
    except (OSError, ValueError):
        return False


def _remember(settings: Settings, definitions: str, config: Any) -> None:
    registry = Path(config.registry.path)
    registry = registry if registry.is_absolute() else settings.repo / registry
    if registry.is_file():  # else it is in a database, and every apply goes through Feast
        applied = _Applied(definitions=definitions, registry=str(registry), sha256=_sha256(registry))
        (settings.data / _STAMP).write_bytes(to_pretty_json(applied))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def _one_process_at_a_time(file: Path) -> Iterator[None]:
    """Feast writes its registry in place, so two processes must not apply at once."""
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
