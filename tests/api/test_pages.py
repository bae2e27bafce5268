"""Lists in pages: by whatever they are sorted, each thing is on one page, and the pages together are the whole list."""

from collections.abc import Collection

import pytest

from polyport.compute import flavors, searches
from polyport.image import listing
from polyport.network import networks, port_rows, security_groups, subnets
from tests.api.boots import active
from tests.api.client import Client
from tests.api.stock import make_image

LISTS: tuple[tuple[str, str, Collection[str]], ...] = (
    ("/compute/flavors", "flavors", flavors.SORT_COLUMNS),
    ("/compute/servers", "servers", searches.COLUMNS),
    ("/image/images", "images", listing.FIELDS),
    ("/network/networks", "networks", networks.COLUMNS),
    ("/network/subnets", "subnets", subnets.COLUMNS),
    ("/network/ports", "ports", port_rows.COLUMNS),
    ("/network/security-groups", "security_groups", security_groups.COLUMNS),
)


async def fill(admin: Client) -> None:
    """Some of each noun, alike in some attributes and not in others."""
    image_id = await make_image(admin)
    for number in range(5):
        odd, name = number % 2 == 1, f"name{number // 2}"
        image = {"name": name if odd else None, "protected": odd, "os_hidden": False, "min_disk": number // 2}
        await admin.made("/image/images", image)
        server = {"name": name, "imageRef": image_id, "flavorRef": "42", "networks": "none", "config_drive": odd}
        made = await admin.made("/compute/servers", {"server": server}, "2.90")
        await active(admin, made["id"])  # what is sorted by must not change from page to page
        network = await admin.made("/network/networks", {"network": {"name": name, "admin_state_up": odd}})
        subnet = {"ip_version": 4, "cidr": "10.0.0.0/24", "enable_dhcp": odd, "gateway_ip": None if odd else "10.0.0.9"}
        await admin.made("/network/subnets", {"subnet": {"network_id": network["id"], **subnet}})
        port = {"network_id": network["id"], "name": name, "port_security_enabled": odd}
        await admin.made("/network/ports", {"port": port})
        await admin.made("/network/security-groups", {"security_group": {"name": name}})


@pytest.mark.parametrize(("path", "noun", "keys"), LISTS, ids=[path for path, *_ in LISTS])
async def test_pages_make_up_the_whole(admin: Client, path: str, noun: str, keys: Collection[str]) -> None:
    await fill(admin)
    for key in keys:
        for direction in ("asc", "desc"):
            query = f"{path}?sort_key={key}&sort_dir={direction}"
            whole = [thing["id"] for thing in (await admin.get(query, "2.90")).json()[noun]]
            assert len(whole) >= 5
            found: list[str] = []
            while len(found) < len(whole):
                page = await admin.get(f"{query}&limit=2{f'&marker={found[-1]}' if found else ''}", "2.90")
                assert page.status_code == 200, (key, direction, page.text)
                assert page.json()[noun], (key, direction, found)
                found += [thing["id"] for thing in page.json()[noun]]
            assert found == whole, (key, direction)
