"""The command line: one sentence for every mistake, JSON where data is printed, help for everything."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
import typer
from support.workspace import Workspace, open_workspace

from batch_scoring.errors import ForetableError
from batch_scoring.settings import Settings
from pipelines.cli import app
from pipelines.console import EXIT_CODES, exit_code

COMMANDS = tuple(sorted(typer.main.get_group(app).commands))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert typer.main.get_group(app).commands[command].help


def test_the_commands_are_the_documented_ones() -> None:
    assert set(COMMANDS) >= {
        "demo", "init", "check", "ingest", "run", "replay", "versions", "publish",
        "rollback", "lookup", "explain", "serve", "sql", "verify", "repair", "prune", "erase", "dagster",
    }  # fmt: skip


def sentence(done: object) -> str:
    """The only thing on standard error: one line that begins with ``error:``."""
    text = done.stderr.strip()  # type: ignore[attr-defined]
    assert text.startswith("error: "), text
    assert "Traceback" not in text
    assert "\n" not in text
    assert text.endswith((".", "?", "'"))
    return text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["versions", "nosuch"], 6, r"table 'nosuch'.*orders"),
        (["run", "nosuch", "--as-of", "2024-04-10"], 6, r"table 'nosuch': expected one of orders"),
        (["ingest", "order"], 6, r"orders"),
        (["lookup", "orders", "C9999"], 6, r"no entity C9999"),
        (["lookup", "orders", "C0001", "C0002"], 2, r"expected 1 part: <customer>, found 2"),
        (["explain", "orders", "C9999"], 6, r"no entity C9999"),
        (["publish", "orders", "99", "--reason", "x"], 6, r"version 99"),
        (["rollback", "orders", "--to", "99", "--reason", "x"], 6, r"99"),
        (["run", "orders", "--as-of", "2031-01-01"], 6, r"Choose a day that the data covers: 2024-01-02 to 2024-04-29"),
        (["run", "orders", "--as-of", "2024-01-03"], 6, r"Choose a later as-of"),
        (["replay", "orders", "--from", "2024-04-12", "--to", "2024-04-10"], 6, r"the earlier day first"),
        (["sql", "SELECT nothing FROM nowhere"], 1, r"nowhere"),
        (["sql", "CREATE TABLE x (a INTEGER)"], 1, r"read-only"),
        (["sql", "COPY (SELECT 1) TO '/tmp/foretable.csv'"], 1, r"disabled"),
        (["sql", "SELECT 1; SELECT 2"], 1, r"one at a time"),
        (["init", "."], 2, r"foretable.toml"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_one_sentence(orders: Workspace, arguments: list[str], code: int, said: str) -> None:
    done = orders.command(*arguments)
    assert re.search(said, sentence(done)), done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "orders", "--as-of", "yesterday"],
        ["run", "orders"],
        ["publish", "orders", "two", "--reason", "x"],
        ["rollback", "orders", "--reason", " "],
        ["nosuch"],
    ],
)
def test_a_wrongly_typed_command_is_a_usage_error(orders: Workspace, arguments: list[str]) -> None:
    done = orders.command(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_workspace_the_way_in_is_named(orders: Workspace, tmp_path: Path) -> None:
    stray = Workspace(folder=tmp_path, settings=orders.settings, product=orders.product, source=orders.source)
    done = stray.command("versions", "orders")
    assert "foretable init" in sentence(done)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('colour = "red"', r"setting 'colour'.*expected one of .*store"),
        ("port = 99999", r"setting 'port'"),
        ("port = ", r"foretable.toml"),
        ('memory_limit = "lots"', r"setting 'memory_limit'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(orders: Workspace, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "foretable.toml").write_text(text + "\n")
    stray = Workspace(folder=tmp_path, settings=orders.settings, product=orders.product, source=orders.source)
    assert re.search(said, sentence(stray.command("verify")))


def test_an_unknown_variable_is_refused(orders: Workspace) -> None:
    assert "FORETABLE_STORAGE" in sentence(orders.command("verify", FORETABLE_STORAGE="x"))


def test_a_variable_wins_over_the_file(orders: Workspace, tmp_path: Path) -> None:
    assert str(tmp_path / "elsewhere") in sentence(
        orders.command("versions", "orders", FORETABLE_STORE=str(tmp_path / "elsewhere"))
    )


def test_a_store_that_cannot_be_written_is_named(orders: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = orders.command("run", "orders", "--as-of", "2024-04-10", FORETABLE_STORE=str(tmp_path / "file" / "store"))
    assert str(tmp_path / "file" / "store") in sentence(done)
    assert done.returncode == 5


def test_a_held_port_is_named(orders: Workspace) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        done = orders.command("serve", "--port", str(port))
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["versions", "orders"],
        ["lookup", "orders", "C0001"],
        ["explain", "orders", "C0001"],
        ["verify"],
        ["sql", "SELECT 1 AS one"],
        ["ingest", "orders"],
    ],
)
def test_data_comes_as_json_when_asked(orders: Workspace, arguments: list[str]) -> None:
    done = orders.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_check_finds_nothing_wrong_with_a_made_repository(orders: Workspace) -> None:
    done = orders.command("check", "--json")
    assert json.loads(done.stdout) == {"tables": ["orders"], "problems": []}


def test_a_prediction_is_told_with_its_reasons(orders: Workspace) -> None:
    said = orders.command("lookup", "orders", "C0001").stdout
    assert re.search(r"C0001: 0\.\d{3} → will (order|wait) \(rank \d+\)", said)
    assert "the score" in said
    assert "version 3, as of 2024-04-12T06:00:00Z" in said


def test_an_explanation_adds_up_on_paper(orders: Workspace) -> None:
    answer = json.loads(orders.command("explain", "orders", "C0001", "--json").stdout)
    total = answer["base_value"] + sum(part["contribution"] for part in answer["contributions"])
    assert total == pytest.approx(answer["margin"], abs=1e-4)


def test_rolling_back_and_publishing_again_takes_two_commands(orders: Workspace, tmp_path: Path) -> None:
    shutil.copytree(orders.folder, tmp_path / "shop", symlinks=True)
    shop = open_workspace(tmp_path / "shop", "orders")
    assert "serves version 2" in shop.command("rollback", "orders", "--reason", "wrong").stdout
    listed = shop.command("versions", "orders").stdout
    assert re.search(r"3 .*rolled back", listed)
    refused = shop.command("publish", "orders", "3", "--reason", "sure")
    assert refused.returncode == 5
    assert "--force" in refused.stderr
    assert "serves version 3" in shop.command("publish", "orders", "3", "--force", "--reason", "it was right after all").stdout
    history = json.loads(shop.command("sql", "SELECT who, why FROM meta.releases ORDER BY release DESC LIMIT 2", "--json").stdout)
    assert history == [{"who": "tester", "why": "it was right after all"}, {"who": "tester", "why": "wrong"}]


def test_a_damaged_file_is_found_and_fails_the_command(orders: Workspace, tmp_path: Path) -> None:
    shutil.copytree(orders.folder, tmp_path / "shop", symlinks=True)
    shop = open_workspace(tmp_path / "shop", "orders")
    model = shop.settings.store / "tables" / "orders" / "versions" / "000001" / "model.ubj"
    model.chmod(0o644)
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    done = shop.command("verify")
    assert done.returncode == 5
    assert "model.ubj" in done.stdout


def test_a_bad_delivery_lists_what_is_wrong(orders: Workspace, tmp_path: Path) -> None:
    shutil.copytree(orders.folder, tmp_path / "shop", symlinks=True)
    shop = open_workspace(tmp_path / "shop", "orders")
    landed = shop.settings.landing / "orders.csv"
    landed.write_bytes(landed.read_bytes().replace(b",store", b",telepathy", 1))
    done = shop.command("run", "orders", "--as-of", "2024-04-13")
    assert done.returncode == 4
    assert "channel" in done.stderr
    assert "Traceback" not in done.stderr
    assert "serves" not in done.stdout


def test_the_whole_error_tree_has_an_exit_code() -> None:
    def leaves(kind: type[ForetableError]) -> list[type[ForetableError]]:
        return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]

    for kind in leaves(ForetableError):
        assert exit_code(kind.__new__(kind)) != 0
    assert EXIT_CODES[-1] == (ForetableError, 1)


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    for name in Settings.model_fields:
        assert f"`{name}`" in page, name
        assert f"`FORETABLE_{name.upper()}`" in page, name


def test_the_name_of_the_actor_comes_from_the_settings(orders: Workspace) -> None:
    assert os.environ.get("FORETABLE_WHO") is None
    assert orders.settings.model_copy(update={"who": "ada"}).actor() == "ada"
    assert orders.settings.actor()
