from dataclasses import dataclass
from pathlib import Path

import pytest

from batch_scoring.settings import Settings, load_settings
from pipelines.init import initialise
from pipelines.repository import Product, load_repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A workspace with the small product of ``foretable init``, and the file it is fed with."""

    folder: Path
    settings: Settings

    @property
    def product(self) -> Product:
        return load_repository(self.settings.repo).product("orders")

    @property
    def book(self) -> Path:
        return self.settings.landing / "orders.csv"

    def rewrite(self, file: str, old: str, new: str) -> None:
        path = self.settings.repo / "orders" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    initialise(tmp_path)
    return Shop(folder=tmp_path, settings=load_settings(tmp_path))
