"""``foretable init``: a folder that runs as it is. The files of ``template/`` and a made-up book of orders."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batch_scoring.errors import SettingsError
from batch_scoring.settings import FILE_NAME

_TEMPLATE = Path(__file__).parent / "template"
_BOOK = "landing/orders.csv"
_SEED = 7
_CUSTOMERS = 200
_DAYS = 120
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def initialise(folder: Path) -> tuple[str, ...]:
    """Write a repository with one small table, ``orders``.

    Args:
        folder: made if need be; nothing in it is overwritten.

    Returns:
        The paths written, relative to ``folder``, sorted. The same bytes every time.

    Raises:
        SettingsError: the folder holds one of the files already, or cannot be written.
    """
    files = sorted(str(file.relative_to(_TEMPLATE)) for file in _TEMPLATE.rglob("*") if _is_template(file))
    for name in (FILE_NAME, *files, _BOOK):
        if (folder / name).exists():
            raise SettingsError(
                f"folder {folder}",
                expected="nothing that would be overwritten",
                found=name,
                fix="Use what is there, or choose another folder.",
            )
    try:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_TEMPLATE / name, folder / name)
        (folder / _BOOK).parent.mkdir(exist_ok=True)
        (folder / _BOOK).write_text(_book_of_orders(), encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"folder {folder}",
            expected="a folder that can be written",
            found=error.strerror or str(error),
            fix="Mend its permissions, or choose another.",
        ) from None
    return tuple(sorted((*files, _BOOK)))


def _is_template(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def _book_of_orders() -> str:
    """A CSV of 120 days. Customers order at their own pace, more at weekends, and some stop for good: enough to predict."""
    draw = random.Random(_SEED)  # noqa: S311 - made-up data, the same every time
    orders: list[tuple[datetime, str, float, str]] = []
    for number in range(1, _CUSTOMERS + 1):
        pace = draw.choice((0.02, 0.06, 0.12, 0.3))
        arrives, stops = draw.randrange(0, 40), draw.randrange(30, 2 * _DAYS)
        online = draw.random()
        for day in range(arrives, min(stops, _DAYS)):
            moment = _FIRST + timedelta(days=day, minutes=draw.randrange(7 * 60, 22 * 60))
            weekend = 1.5 if moment.weekday() >= 5 else 1.0
            if day == arrives or draw.random() < pace * weekend:
                amount = round(draw.lognormvariate(3.2, 0.6), 2)
                orders.append((moment, f"C{number:04d}", amount, "web" if draw.random() < online else "store"))
    lines = [
        f"{order_id},{customer},{moment:%Y-%m-%dT%H:%M:%SZ},{amount:.2f},{channel}"
        for order_id, (moment, customer, amount, channel) in enumerate(sorted(orders), start=1)
    ]
    return "order_id,customer,ordered_at,amount,channel\n" + "\n".join(lines) + "\n"
