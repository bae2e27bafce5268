"""Boots, and what stories of them ask afterwards."""

from typing import Any

from tests.api.client import Client
from tests.api.stock import make_image

NOWHERE = "9d1d6e0a-3b54-4f8b-a0b0-00000000dead"
"""An id of nothing."""


async def boot(client: Client, networks: Any, version: str = "2.90", **more: Any) -> Any:
    """The answer to a boot of the smallest server."""
    body = {"name": "vnf", "flavorRef": "42", "imageRef": await image_of(client), **more}
    if networks is not None:
        body["networks"] = networks
    return await client.post("/compute/servers", {"server": body}, version)


async def image_of(client: Client) -> str:
    found = (await client.get("/image/images")).json()["images"]
    return str(found[0]["id"]) if found else await make_image(client)


async def make_port(client: Client, network_id: str, **more: Any) -> dict[str, Any]:
    port: dict[str, Any] = await client.made("/network/ports", {"port": {"network_id": network_id, **more}})
    return port


async def active(client: Client, server_id: str) -> dict[str, Any]:
    seen = await client.until(
        f"/compute/servers/{server_id}", lambda answer: answer.json()["server"]["status"] == "ACTIVE"
    )
    server: dict[str, Any] = seen.json()["server"]
    return server


async def nothing_left(client: Client) -> bool:
    """Whether the project has no server, no used quota and no port in use."""
    servers = (await client.get("/compute/servers")).json()["servers"]
    limits = (await client.get("/compute/limits")).json()["limits"]["absolute"]
    ports = (await client.get("/network/ports")).json()["ports"]
    used = (limits["totalInstancesUsed"], limits["totalCoresUsed"], limits["totalRAMUsed"])
    return not servers and used == (0, 0, 0) and not any(port["device_id"] for port in ports)
