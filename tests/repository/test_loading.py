"""Reading the user's declarations: what is wrong becomes one sentence that names the file, the line and the fix."""

import subprocess
import sys
from pathlib import Path

import pytest

from batch_scoring.errors import DeclarationError, UnknownTable
from pipelines.init import initialise
from pipelines.repository import load_repository

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "feature_repo"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    initialise(tmp_path)
    return tmp_path / "feature_repo"


def rewrite(repo: Path, old: str, new: str, file: str = "orders/table.py") -> None:
    text = (repo / file).read_text()
    assert old in text
    (repo / file).write_text(text.replace(old, new))


def refused(repo: Path) -> str:
    with pytest.raises(DeclarationError) as error:
        load_repository(repo)
    return str(error.value)


def test_the_shipped_repository_declares_flights_and_customers():
    repository = load_repository(SHIPPED)
    assert [product.table.name for product in repository.products] == ["customers", "flights"]
    assert repository.product("flights").folder == SHIPPED / "flights"


def test_reading_declarations_loads_no_heavy_library():
    script = (
        "import sys; from pathlib import Path; from pipelines.repository import load_repository;"
        f"load_repository(Path({str(SHIPPED)!r}));"
        "print([m for m in ('feast', 'duckdb', 'polars', 'pandera', 'pandas', 'pyarrow', 'xgboost') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_an_unknown_table_is_answered_with_the_known_ones_and_a_guess():
    with pytest.raises(UnknownTable) as error:
        load_repository(SHIPPED).product("flight")
    assert "customers, flights" in str(error.value)
    assert "Did you mean 'flights'?" in str(error.value)


def test_two_repositories_with_one_product_name_do_not_mix(repo: Path, tmp_path: Path):
    initialise(tmp_path / "other")
    rewrite(repo, "orders again within seven days", "buys")
    assert "buys" in load_repository(repo).product("orders").table.description
    assert "orders again" in load_repository(tmp_path / "other" / "feature_repo").product("orders").table.description


def test_a_field_that_cannot_work_is_named_with_its_file_and_line(repo: Path):
    rewrite(repo, 'at="06:00"', 'at="6 o\'clock"')
    message = refused(repo)
    assert "feature_repo/orders/table.py:" in message
    assert "Schedule.at" in message
    line = (repo / "orders/table.py").read_text().splitlines()[int(message.split(":")[1]) - 1]
    assert "o'clock" in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    Baseline,\n", "    Basline,\n", ("table.py:", "ImportError")),
        ("orders = PredictionTable(", "orders = PredictionTable((", ("table.py:", "never closed")),
        ("orders = PredictionTable(", "PredictionTable(", ("exactly one PredictionTable", "none")),
        (
            'name="orders",\n    description',
            'name="order",\n    description',
            ("PredictionTable.name", "'orders', the name of its folder"),
        ),
        ('"sql/label.sql"', '"sql/lable.sql"', ("Label.sql", "sql/lable.sql beside table.py")),
        ('"sql/activity.sql"', '"sql/activty.sql"', ("Dataset 'activity'", "sql/activty.sql")),
        ("rounds=40", "rounds=1 / 0", ("table.py:", "ZeroDivisionError")),
    ],
    ids=["import", "syntax", "unassigned", "name", "label", "dataset", "exception"],
)
def test_a_broken_declaration_is_one_sentence(repo: Path, old: str, new: str, words: tuple[str, ...]):
    rewrite(repo, old, new)
    message = refused(repo)
    for word in words:
        assert word in message
    assert "\n" not in message


def test_two_tables_in_one_folder_are_refused(repo: Path):
    rewrite(repo, "orders = Pred", "import dataclasses\norders = Pred")
    with (repo / "orders/table.py").open("a") as file:
        file.write('more = dataclasses.replace(orders, name="more")\n')
    assert "orders, more" in refused(repo)


def test_a_product_without_checks_is_refused(repo: Path):
    (repo / "orders/checks.py").unlink()
    assert "checks.py" in refused(repo)


def test_a_product_must_not_hide_an_installed_module(repo: Path):
    (repo / "orders").rename(repo / "statistics")
    rewrite(repo, 'name="orders",\n    description', 'name="statistics",\n    description', "statistics/table.py")
    assert "no installed Python module" in refused(repo)


def test_an_empty_repository_says_how_to_make_one(tmp_path: Path):
    assert "foretable init" in refused(tmp_path)
    assert "no such folder" in refused(tmp_path / "nowhere")
