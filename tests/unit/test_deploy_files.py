"""The files with which a server keeps the program running."""

import configparser
import shlex
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
UNITS = sorted((CHECKOUT / "deploy" / "systemd").glob("*.service"))
# Where the units say that the program lives.
HOME = "/opt/ai-trading"


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(request.param, encoding="utf-8")
    return {name: dict(parser[name]) for name in parser.sections()}


def test_a_unit_starts_what_is_there(unit):
    """Each unit runs a program of the environment as a user of its own, and starts it again."""
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])

    assert Path(program).parent == Path(HOME, ".venv", "bin")
    assert Path(program).name in {"prefect", "trading", "python"}
    assert words
    assert (service["User"], service["WorkingDirectory"]) == ("trading", HOME)
    assert (service["Restart"], service["NoNewPrivileges"]) == ("always", "true")
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    document = unit["Unit"]["Documentation"].removeprefix(f"file://{HOME}/")
    assert (CHECKOUT / document).is_file()


def test_a_session_outlives_its_worker():
    """systemd ends the worker alone; what it runs goes on."""
    text = (CHECKOUT / "deploy" / "systemd" / "trading-worker.service").read_text("utf-8")

    assert "KillMode=process" in text.splitlines()


def test_containers_open_no_door_to_the_outside():
    """Every port is bound to this machine, and no password is in the file."""
    services = yaml.safe_load((CHECKOUT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]

    ports = [port for service in services.values() for port in service["ports"]]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${")
