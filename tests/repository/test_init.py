from pathlib import Path

import pytest

from batch_scoring.errors import SettingsError
from batch_scoring.settings import load_settings
from pipelines.init import initialise
from pipelines.repository import load_repository


def test_init_writes_a_repository_that_loads(tmp_path: Path):
    written = initialise(tmp_path / "shop")
    assert all((tmp_path / "shop" / name).is_file() for name in written)
    assert load_repository(load_settings(tmp_path / "shop").repo).product("orders")


def test_init_writes_the_same_bytes_every_time(tmp_path: Path):
    first, second = (initialise(tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in first)


def test_init_leaves_other_files_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    initialise(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["foretable.toml", "feature_repo/orders/table.py", "landing/orders.csv"])
def test_init_overwrites_nothing(tmp_path: Path, name: str):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(SettingsError, match=name):
        initialise(tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [Path(name).name]


def test_init_says_in_a_sentence_that_it_cannot_write(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="can be written"):
        initialise(tmp_path / "file" / "shop")
