"""What many stories begin with: an image, a network, a server."""

from typing import Any

from tests.api.client import Client


async def make_image(client: Client, name: str = "tiny") -> str:
    """The id of a small image that is ready."""
    body = {"name": name, "disk_format": "raw", "container_format": "bare"}
    answer = await client.post("/image/images", body)
    assert answer.status_code == 201, answer.text
    image_id: str = answer.json()["id"]
    headers = {"content-type": "application/octet-stream"}
    stored = await client.call("PUT", f"/image/images/{image_id}/file", content=b"\0" * 4096, headers=headers)
    assert stored.status_code == 204, stored.text
    return image_id


async def make_network(client: Client, name: str = "net1", cidr: str = "10.0.0.0/24") -> str:
    """The id of a network with a subnet."""
    network = await client.made("/network/networks", {"network": {"name": name}})
    subnet = {"network_id": network["id"], "ip_version": 6 if ":" in cidr else 4, "cidr": cidr}
    await client.made("/network/subnets", {"subnet": subnet})
    network_id: str = network["id"]
    return network_id


async def make_server(client: Client, *, nics: int = 0, flavor: str = "42", **more: Any) -> dict[str, Any]:
    """A server that is ACTIVE, with so many NICs on one network of its own."""
    networks: Any = "none"
    if nics:
        networks = [{"uuid": await make_network(client)}] * nics
    body = {
        "name": "vnf",
        "flavorRef": flavor,
        "imageRef": await make_image(client),
        "networks": networks,
        **more,
    }
    made = await client.made("/compute/servers", {"server": body}, "2.60")
    path = f"/compute/servers/{made['id']}"
    answer = await client.until(path, lambda seen: seen.json()["server"]["status"] == "ACTIVE")
    server: dict[str, Any] = answer.json()["server"]
    return server
