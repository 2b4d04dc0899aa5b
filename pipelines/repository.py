"""The user's feature repository: which prediction tables are declared in it. Light: no Feast, DuckDB or pandera here.

Only ``*/table.py`` is read, one folder per product. Each file is run on its own (:func:`runpy.run_path`), so two
repositories with a product of the same name never meet in ``sys.modules``.
"""

from __future__ import annotations

import difflib
import runpy
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import PredictionTable
from batch_scoring.errors import DeclarationError, UnknownTable

if TYPE_CHECKING:
    from batch_scoring.settings import Settings

TABLE = "table.py"
CHECKS = "checks.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A declared table and the folder that holds its SQL, its checks and its features."""

    table: PredictionTable
    folder: Path

    def sql(self, path: str) -> str:
        """Text of a SQL file that the declaration names.

        Raises:
            DeclarationError: the file is missing or not UTF-8.
        """
        file = self.folder / path
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DeclarationError(
                f"{_shown(file)}",
                expected="a readable SQL file in UTF-8",
                found=_reason(error),
                fix=f"Write it, or correct its name in {_shown(self.folder / TABLE)}.",
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """All declared products, sorted by name."""

    folder: Path
    products: tuple[Product, ...]

    def product(self, name: str) -> Product:
        """The product of that name.

        Raises:
            UnknownTable: nothing of that name is declared.
        """
        known = [product.table.name for product in self.products]
        for product in self.products:
            if product.table.name == name:
                return product
        near = difflib.get_close_matches(name, known, n=1)
        raise UnknownTable(
            f"table '{name}'",
            expected=f"one of {', '.join(known)}",
            fix=f"Did you mean '{near[0]}'?" if near else f"Declare it in {_shown(self.folder / name / TABLE)}.",
        )


def load_repository(folder: Path) -> Repository:
    """Read every declaration under ``folder``.

    Raises:
        DeclarationError: a declaration that cannot work; the subject names the file, the line and the field.
    """
    files = sorted(folder.glob(f"*/{TABLE}")) if folder.is_dir() else []
    if not files:
        raise DeclarationError(
            f"feature repository {folder}",
            expected=f"at least one product: a folder with a {TABLE}",
            found="none" if folder.is_dir() else "no such folder",
            fix="Set 'repo' in foretable.toml, or make a repository with 'foretable init DIR'.",
        )
    return Repository(folder=folder, products=tuple(_load_product(file) for file in files))


def check_repository(repository: Repository, settings: Settings) -> tuple[str, ...]:
    """Everything that is wrong between declarations, SQL, checks and Feast objects, one sentence each; changes nothing.

    Slow (it imports Feast). An empty tuple means that the declarations fit together.
    """
    from pipelines.validation.declarations import problems

    return problems(repository, settings)


def _load_product(file: Path) -> Product:
    tables = [(name, value) for name, value in _run(file).items() if isinstance(value, PredictionTable)]
    if len({id(table) for _, table in tables}) != 1:
        raise DeclarationError(
            _shown(file),
            expected="exactly one PredictionTable, assigned to a name",
            found=", ".join(name for name, _ in tables) or "none",
            fix="Keep one table per folder.",
        )
    product = Product(table=tables[0][1], folder=file.parent)
    _require_named_like_folder(product)
    _require_files(product)
    return product


def _run(file: Path) -> dict[str, object]:
    """The names that a declaration file defines."""
    try:
        return runpy.run_path(str(file))
    except DeclarationError as error:
        raise DeclarationError(
            f"{_shown(file)}{_line(error, file)}: {error.subject}",
            expected=error.expected,
            found=error.found,
            fix=error.fix,
        ) from None
    except SyntaxError as error:
        where = f"{_shown(Path(error.filename) if error.filename else file)}:{error.lineno}"
        raise DeclarationError(where, expected="Python", found=error.msg, fix="Correct that line.") from None
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything; it must become a sentence
        raise DeclarationError(
            f"{_shown(file)}{_line(error, file)}",
            expected="a declaration that can be read",
            found=_reason(error),
            fix="Correct that line; table.py needs nothing but batch_scoring.",
        ) from None


def _require_named_like_folder(product: Product) -> None:
    name, file = product.table.name, _shown(product.folder / TABLE)
    if name != product.folder.name:
        raise DeclarationError(
            f"{file}: PredictionTable.name",
            expected=f"'{product.folder.name}', the name of its folder",
            found=repr(name),
            fix="Rename one of the two: a table, its folder, its data and its place in the store share one name.",
        )
    # Feast imports features.py as <folder>.features; an installed module of that name would be imported instead.
    spec = find_spec(name)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    if any(place and not Path(place).resolve().is_relative_to(product.folder.resolve()) for place in places):
        raise DeclarationError(
            f"{file}: PredictionTable.name",
            expected="a name that no installed Python module has",
            found=f"{name!r}, which is {places[0] or places[1]}",
            fix="Rename the folder and the table.",
        )


def _require_files(product: Product) -> None:
    table, file = product.table, _shown(product.folder / TABLE)
    named = [("PredictionTable.population", table.population), ("Label.sql", table.label.sql)]
    named += [(f"Dataset '{dataset.name}'", dataset.sql) for dataset in table.datasets]
    named += [("PredictionTable.sources", CHECKS)] if table.sources else []
    for field, path in named:
        if not (product.folder / path).is_file():
            raise DeclarationError(
                f"{file}: {field}", expected=f"a file {path}", found="none", fix=f"Write {path} beside table.py."
            )


def _line(error: Exception, file: Path) -> str:
    """``:24``, the last line of ``file`` that took part in an error; empty when none did."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f":{lines[-1]}" if lines else ""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".removesuffix(": ")


def _shown(file: Path) -> str:
    """A path as a user would type it: ``feature_repo/flights/table.py``."""
    return "/".join(file.parts[-3:])
