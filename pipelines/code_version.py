"""Which code a version was made by: the commit of the repository that holds the declarations."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 10.0  # seconds; a network drive may hang, and no run fails for want of a commit's name


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVersion:
    """A commit (hex; empty where git knows of none), and whether anything in the folder differed from it."""

    commit: str
    dirty: bool


def code_version(folder: Path) -> CodeVersion:
    """The commit that a folder is at, and whether files in it were changed or added since. Never fails."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return CodeVersion(commit="", dirty=False)
    changed = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return CodeVersion(commit=commit, dirty=changed is None or bool(changed))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None if it does not."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603  # a fixed command
            ["git", "-C", str(folder), *arguments],  # noqa: S607  # git is wherever the user has it
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
