"""What a server looks like at each microversion, word for word.

The files hold one server with two NICs on one network: as `GET` shows it to a member and to an administrator, as the
detailed list has it, and as an update answers. To write them anew after a change that is meant, set
POLYPORT_WRITE_GOLDEN=1.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from polyport.api.compute.microversions import HIGHEST
from tests.api.client import Client
from tests.api.conftest import admin, client, cloud
from tests.api.stock import make_image, make_network

__all__ = ["admin", "client", "cloud"]

VIEWS = Path(__file__).parent / "views" / "compute"
VERSIONS = (
    *("2.1", "2.3", "2.9", "2.16", "2.19", "2.26", "2.47", "2.63", "2.69", "2.71", "2.73", "2.75"),
    *("2.90", "2.96", "2.98", str(HIGHEST)),
)


async def server_of(client: Client) -> str:
    """A server with a bit of everything."""
    network_id = await make_network(client)
    image_id = await make_image(client)
    added = [{"op": "add", "path": "/os_distro", "value": "debian"}]
    headers = {"content-type": "application/openstack-images-v2.1-json-patch"}
    assert (await client.patch(f"/image/images/{image_id}", added, headers=headers)).is_success
    body = {
        "name": "Edge 1",
        "flavorRef": "42",
        "imageRef": image_id,
        "networks": [{"uuid": network_id, "fixed_ip": f"10.0.0.{at}"} for at in (20, 10)],
        "metadata": {"role": "edge"},
        "tags": ["b", "a"],
        "description": "at the edge",
        "availability_zone": "nova",
        "config_drive": True,
        "user_data": "aGk=",
        "accessIPv4": "192.0.2.1",
    }
    hints = {"different_host": "11111111-1111-4111-8111-111111111111"}
    made = await client.made("/compute/servers", {"server": body, "os:scheduler_hints": hints}, "2.100")
    path = f"/compute/servers/{made['id']}"
    await client.until(path, lambda seen: seen.json()["server"]["status"] == "ACTIVE")
    return path


def without_chance(document: Any) -> Any:
    """The same with everything that differs from run to run named by what it is."""
    names: dict[str, str] = {}

    def named(kind: str, value: str) -> str:
        return names.setdefault(value, f"<{kind}-{sum(name.startswith(f'<{kind}') for name in names.values()) + 1}>")

    text = json.dumps(document)
    for kind, pattern in (
        ("id", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        ("host", r"\b[0-9a-f]{56}\b"),
        ("hex", r"\b[0-9a-f]{32}\b"),
        ("mac", r"fa:16:3e(?::[0-9a-f]{2}){3}"),
        ("reservation", r"\br-[0-9a-z]{8}\b"),
        ("time", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?"),
    ):
        text = re.sub(pattern, lambda found, kind=kind: named(kind, found[0]), text)  # type: ignore[misc]
    return json.loads(re.sub(r"<time-\d+>", "<time>", text))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_at_each_version(client: Client, admin: Client, version: str) -> None:
    path = await server_of(client)
    views = {
        "GET, member": (await client.get(path, version)).json(),
        "GET, administrator": (await admin.get(path, version)).json(),
        "GET detail, member": (await client.get("/compute/servers/detail", version)).json(),
        "PUT, member": (await client.put(path, {"server": {"accessIPv4": "192.0.2.2"}}, version)).json(),
    }
    found = without_chance(views)
    file = VIEWS / version / "server.json"
    if os.environ.get("POLYPORT_WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(file.read_text())


def test_every_view_has_its_version() -> None:
    assert {path.name for path in VIEWS.iterdir()} == set(VERSIONS)
