"""Which fields the compute API's answers have: since which microversion, for whom, of which types.

The table is the API's history in plain numbers and knows nothing of our own windows. Answers are held against it at
each version: a field too many fails like one that is missing. Source: the compute API's reference and version history.
"""

from collections.abc import Iterable
from types import NoneType
from typing import Any, NamedTuple

from polyport.api.compute.microversions import HIGHEST, LOWEST
from tests.api.client import Client
from tests.api.stock import make_image, make_network
from tests.api.test_plans import Host, boot, host

__all__ = ["host"]

VERSIONS = range(LOWEST.minor, HIGHEST.minor + 1)
NEVER = range(0)


def since(first: int, last: int = HIGHEST.minor) -> range:
    """From 2.`first` to 2.`last`."""
    return range(first, last + 1)


class Field(NamedTuple):
    """Types are exact; None among them: may be null. `hidden`: versions in which only administrators see the field."""

    name: str
    types: tuple[type, ...]
    shown: range = VERSIONS
    hidden: range = NEVER

    def seen(self, minor: int, is_admin: bool) -> bool:
        return minor in self.shown and (is_admin or minor not in self.hidden)


MAYBE_TEXT = (str, NoneType)
WHOLE_UPDATE = since(75)


def texts(*names: str) -> list[Field]:
    return [Field(name, (str,)) for name in names]


def during(shown: range, fields: Iterable[Field]) -> list[Field]:
    """The same fields, but only in some versions."""
    return [
        field._replace(shown=range(max(field.shown.start, shown.start), min(field.shown.stop, shown.stop)))
        for field in fields
    ]


CORE = [
    *texts("id", "name", "status", "tenant_id", "user_id", "hostId", "created", "updated", "accessIPv4", "accessIPv6"),
    *texts("OS-DCF:diskConfig"),
    Field("metadata", (dict,)),
    Field("image", (dict,)),
    Field("flavor", (dict,)),
    Field("addresses", (dict,)),
    Field("links", (list,)),
    Field("locked", (bool,), since(9)),
    Field("description", MAYBE_TEXT, since(19)),
    Field("tags", (list,), since(26)),
    Field("trusted_image_certificates", (list, NoneType), since(63)),
    Field("locked_reason", MAYBE_TEXT, since(73)),
    Field("pinned_availability_zone", MAYBE_TEXT, since(96)),
    Field("scheduler_hints", (dict,), since(100)),
]
PROGRESS = Field("progress", (int,))
"""While a server is made, is rebuilt or runs."""
FAULT = Field("fault", (dict,))
"""Of servers in ERROR."""
FAULT_ITSELF = [*texts("message", "created"), Field("code", (int,))]
GROUPS = Field("server_groups", (list,), since(71))
"""Not in lists."""
KEY_NAME = Field("key_name", MAYBE_TEXT)
USER_DATA = Field("OS-EXT-SRV-ATTR:user_data", MAYBE_TEXT, since(3), VERSIONS)
REST = [
    *texts("config_drive", "OS-EXT-AZ:availability_zone", "OS-EXT-STS:vm_state"),
    Field("OS-EXT-STS:task_state", MAYBE_TEXT),
    Field("OS-EXT-STS:power_state", (int,)),
    Field("OS-SRV-USG:launched_at", MAYBE_TEXT),
    Field("OS-SRV-USG:terminated_at", MAYBE_TEXT),
    Field("os-extended-volumes:volumes_attached", (list,)),
    Field("security_groups", (list,)),
    Field("OS-EXT-SRV-ATTR:host", MAYBE_TEXT, hidden=VERSIONS),
    Field("OS-EXT-SRV-ATTR:hypervisor_hostname", MAYBE_TEXT, hidden=VERSIONS),
    Field("OS-EXT-SRV-ATTR:instance_name", (str,), hidden=VERSIONS),
    Field("OS-EXT-SRV-ATTR:hostname", (str,), since(3), since(3, 89)),
    Field("OS-EXT-SRV-ATTR:reservation_id", (str,), since(3), VERSIONS),
    Field("OS-EXT-SRV-ATTR:launch_index", (int,), since(3), VERSIONS),
    Field("OS-EXT-SRV-ATTR:kernel_id", (str,), since(3), VERSIONS),
    Field("OS-EXT-SRV-ATTR:ramdisk_id", (str,), since(3), VERSIONS),
    Field("OS-EXT-SRV-ATTR:root_device_name", MAYBE_TEXT, since(3), VERSIONS),
    Field("host_status", (str,), since(16), VERSIONS),
]
DETAIL = [*CORE, *REST, KEY_NAME, USER_DATA]
SHOW = [*DETAIL, GROUPS]
UPDATE = [*CORE, GROUPS, *during(WHOLE_UPDATE, [*REST, KEY_NAME, USER_DATA])]
REBUILD = [
    *CORE,
    GROUPS,
    *during(WHOLE_UPDATE, REST),
    *during(since(54), [KEY_NAME]),
    Field("user_data", MAYBE_TEXT, since(57)),
    Field("adminPass", (str,)),
]
CREATE = [*texts("id", "adminPass", "OS-DCF:diskConfig"), Field("links", (list,)), Field("security_groups", (list,))]
BRIEF = [*texts("id", "name"), Field("links", (list,))]

IMAGE = [*texts("id"), Field("links", (list,)), Field("properties", (dict,), since(98))]
FLAVOR = [
    Field("id", (str,), since(1, 46)),
    Field("links", (list,), since(1, 46)),
    Field("original_name", (str,), since(47)),
    *(Field(name, (int,), since(47)) for name in ("vcpus", "ram", "disk", "ephemeral", "swap")),
    Field("extra_specs", (dict,), since(47)),
]
ADDRESS = [*texts("addr"), Field("version", (int,))]
EXTENDED_ADDRESS = texts("OS-EXT-IPS:type", "OS-EXT-IPS-MAC:mac_addr")

INTERFACE = [
    *texts("net_id", "port_id", "mac_addr", "port_state"),
    Field("fixed_ips", (list,)),
    Field("tag", MAYBE_TEXT, since(70)),
]
FIXED_IP = texts("subnet_id", "ip_address")

ACTION = [
    *texts("action", "instance_uuid", "request_id", "user_id", "project_id", "start_time"),
    Field("message", MAYBE_TEXT),
    Field("updated_at", MAYBE_TEXT, since(58)),
]
EVENTS = Field("events", (list,), hidden=since(1, 50))
EVENT = [
    *texts("event", "start_time"),
    Field("finish_time", MAYBE_TEXT),
    Field("result", MAYBE_TEXT),
    Field("traceback", MAYBE_TEXT, hidden=since(51)),
    Field("hostId", (str,), since(62)),
    Field("host", MAYBE_TEXT, since(62), VERSIONS),
    Field("details", MAYBE_TEXT, since(84)),
]


class Caller(NamedTuple):
    """A client at one version, and what it may see."""

    client: Client
    minor: int
    is_admin: bool

    @property
    def version(self) -> str:
        return f"2.{self.minor}"

    async def get(self, path: str) -> Any:
        return next(iter((await self.client.get(path, self.version)).json().values()))

    def check(self, found: dict[str, Any], fields: Iterable[Field]) -> None:
        """Just these fields, each of a type it may have."""
        wanted = {field.name: field.types for field in fields if field.seen(self.minor, self.is_admin)}
        assert found.keys() == wanted.keys(), (self.version, self.is_admin, found.keys() ^ wanted.keys())
        wrong = {name: value for name, value in found.items() if type(value) not in wanted[name]}
        assert not wrong, (self.version, self.is_admin)

    def check_server(self, found: dict[str, Any], fields: Iterable[Field], *, extended: bool = True) -> None:
        """A server with what is inside of it; `extended`: whether its addresses are."""
        self.check(found, fields)
        self.check(found["image"], IMAGE)
        self.check(found["flavor"], FLAVOR)
        (addresses,) = found["addresses"].values()
        assert len(addresses) == 2
        for address in addresses:
            self.check(address, [*ADDRESS, *EXTENDED_ADDRESS] if extended else ADDRESS)


def callers(client: Client, admin: Client) -> list[Caller]:
    return [Caller(who, minor, who is admin) for minor in VERSIONS for who in (client, admin)]


async def make(client: Client) -> str:
    """The path of a server that is ACTIVE, with two NICs on one network."""
    body = {"name": "vnf", "flavorRef": "42", "imageRef": await make_image(client)}
    nics = [{"uuid": await make_network(client)}] * 2
    made = await client.made("/compute/servers", {"server": {**body, "networks": nics}}, "2.90")
    path = f"/compute/servers/{made['id']}"
    await is_now(client, path, "ACTIVE")
    return path


async def is_now(client: Client, path: str, status: str) -> None:
    await client.until(path, lambda seen: seen.json()["server"]["status"] == status)


async def test_servers_as_they_are_shown(client: Client, admin: Client) -> None:
    path = await make(client)
    for caller in callers(client, admin):
        caller.check_server(await caller.get(path), [*SHOW, PROGRESS])
        (listed,) = await caller.get(f"/compute/servers/detail{'?all_tenants=1' if caller.is_admin else ''}")
        caller.check_server(listed, [*DETAIL, PROGRESS])


async def test_servers_that_do_not_run(client: Client, admin: Client) -> None:
    path = await make(client)
    await client.post(f"{path}/action", {"os-stop": None})
    await is_now(client, path, "SHUTOFF")
    for caller in callers(client, admin):
        caller.check_server(await caller.get(path), SHOW)


async def test_servers_before_they_run_and_when_they_fail(client: Client, admin: Client, host: Host) -> None:
    path = f"/compute/servers/{await boot(client)}"
    for caller in callers(client, admin):
        caller.check_server(await caller.get(path), [*SHOW, PROGRESS])
    await host.report(await host.one(), "stopped", error="The disk is full.", boot=0)
    for caller in callers(client, admin):
        failed = await caller.get(path)
        assert failed["status"] == "ERROR"
        caller.check_server(failed, [*SHOW, FAULT])
        caller.check(failed["fault"], FAULT_ITSELF)


async def test_what_changes_to_servers_answer(client: Client, admin: Client) -> None:
    path = await make(client)
    image_id = (await client.get(path)).json()["server"]["image"]["id"]
    for caller in callers(client, admin):
        extended = caller.minor in WHOLE_UPDATE
        changed = await caller.client.put(path, {"server": {"name": "vnf"}}, caller.version)
        caller.check_server(changed.json()["server"], [*UPDATE, PROGRESS], extended=extended)
        rebuilt = await caller.client.post(f"{path}/action", {"rebuild": {"imageRef": image_id}}, caller.version)
        caller.check_server(rebuilt.json()["server"], [*REBUILD, PROGRESS], extended=extended)
        await is_now(client, path, "ACTIVE")


async def test_what_a_boot_answers_and_lists_show(client: Client) -> None:
    body = {"name": "vnf", "flavorRef": "42", "imageRef": await make_image(client)}
    networks = [{"uuid": await make_network(client)}]
    for minor in VERSIONS:
        caller = Caller(client, minor, False)
        answer = await client.post("/compute/servers", {"server": {**body, "networks": networks}}, caller.version)
        made = answer.json()["server"]
        caller.check(made, CREATE)
        (listed,) = await caller.get("/compute/servers")
        caller.check(listed, BRIEF)
        path = f"/compute/servers/{made['id']}"
        assert (await client.delete(path)).status_code == 204
        await client.until(path, lambda seen: seen.status_code == 404)


async def test_interfaces(client: Client, admin: Client) -> None:
    path = f"{await make(client)}/os-interface"
    for caller in callers(client, admin):
        listed = await caller.get(path)
        shown = await caller.get(f"{path}/{listed[0]['port_id']}")
        made = (await client.post(path, {}, caller.version)).json()["interfaceAttachment"]
        for interface in (*listed, shown, made):
            caller.check(interface, INTERFACE)
            for fixed_ip in interface["fixed_ips"]:
                caller.check(fixed_ip, FIXED_IP)
        assert (await client.delete(f"{path}/{made['port_id']}")).status_code == 202
        await client.until(path, lambda seen: len(seen.json()["interfaceAttachments"]) == 2)


async def test_actions_and_their_events(client: Client, admin: Client) -> None:
    path = f"{await make(client)}/os-instance-actions"
    for caller in callers(client, admin):
        (listed,) = await caller.get(path)
        caller.check(listed, ACTION)
        shown = await caller.get(f"{path}/{listed['request_id']}")
        caller.check(shown, [*ACTION, EVENTS])
        events = shown.get("events", [])
        assert len(events) == EVENTS.seen(caller.minor, caller.is_admin)
        for event in events:
            caller.check(event, EVENT)
