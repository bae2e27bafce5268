"""Which addresses ports get: the circle of a subnet's pools, and what is set aside before it is walked."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.db.tables.network import addresses, ports
from polyport.ids import NetworkId, ProjectId, SubnetId, UserId
from polyport.network import InvalidInput, ipam, networks, port_rows, subnets
from polyport.network import ports as port_calls
from polyport.network.ipam import Space, Want, WantedIp
from polyport.network.networks import NewNetwork
from polyport.network.ports import NewPort
from polyport.network.subnets import NewSubnet

POOLS = st.lists(st.integers(0, 300), min_size=2, max_size=10, unique=True).map(
    lambda ends: [(low, high) for low, high in zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False)]
)


@given(POOLS, st.integers(0, 310))
def test_a_circle_has_every_address_of_the_pools_once_and_begins_at_the_cursor(
    pools: list[tuple[int, int]], cursor: int
) -> None:
    walked = [address for first, last in ipam.rotated(pools, cursor) for address in range(first, last + 1)]
    whole = [address for first, last in pools for address in range(first, last + 1)]
    assert sorted(walked) == whole
    above = [address for address in whole if address >= cursor]
    assert walked == above + [address for address in whole if address < cursor]


@given(st.sets(st.integers(0, 60)), st.integers(0, 30), st.integers(0, 60), st.integers(0, 20))
def test_gaps_are_the_lowest_free_addresses(taken: set[int], first: int, last: int, most: int) -> None:
    assert ipam.free_between(first, last, taken, most) == [n for n in range(first, last + 1) if n not in taken][:most]


@given(
    st.one_of(
        st.integers(1 << 24, (1 << 32) - 1).map(IPv4Address), st.integers(1 << 121, (1 << 128) - 1).map(IPv6Address)
    )
)
def test_stored_addresses_sort_as_numbers_and_come_back_as_they_went(address: IPv4Address | IPv6Address) -> None:
    stored = ipam.hex_of(int(address))
    assert len(stored) == 32
    assert ip_address(ipam.text_of(stored)) == address
    assert ipam.number_of(ipam.text_of(stored)) == (address.version, int(address))


def test_the_automatic_address_is_the_one_the_guest_makes() -> None:
    space = Space(
        subnet_id=SubnetId("s"),
        network_id=NetworkId("n"),
        version=6,
        first=int(IPv6Address("2001:db8:1:2::")),
        last=int(IPv6Address("2001:db8:1:2:ffff:ffff:ffff:ffff")),
        pools=(),
        automatic=True,
    )
    assert IPv6Address(ipam.eui64(space, "fa:16:3e:12:34:56")) == IPv6Address("2001:db8:1:2:f816:3eff:fe12:3456")
    assert IPv6Address(ipam.eui64(space, "02:00:00:00:00:01")) == IPv6Address("2001:db8:1:2:0:ff:fe00:1")


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.1/24", "fe80::1%eth0", " 10.0.0.1", "010.0.0.1", "10.0.0.256", "x"]
)
def test_what_is_no_address(text: str) -> None:
    assert ipam.number_of(text) is None


MEMBER = Context(user_id=UserId("u"), user_name="u", project_id=ProjectId("p"), roles=frozenset(("member",)))


class Net:
    """One network in a scratch database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def begin(self, *cidrs: str, pools: tuple[tuple[str, str], ...] | None = None) -> None:
        def make(tx: Tx) -> None:
            self.id = networks.create_networks(tx, MEMBER, [NewNetwork(name="net")])[0].id
            wanted = [
                NewSubnet(network_id=self.id, cidr=cidr, ip_version=6 if ":" in cidr else 4, allocation_pools=pools)
                for cidr in cidrs
            ]
            self.subnets = [subnet.id for subnet in subnets.create_subnets(tx, MEMBER, wanted)]

        await self.database.write(make)

    async def take(self, *wanted: tuple[WantedIp, ...] | None) -> list[list[str]]:
        """The addresses of ports made in one request."""
        new = [NewPort(network_id=self.id, fixed_ips=fixed_ips) for fixed_ips in wanted]
        made = await self.database.write(lambda tx: port_calls.create_ports(tx, MEMBER, new))
        return [[ip.ip_address for ip in port.fixed_ips] for port in made]

    async def free(self, address: str) -> None:
        """Delete the port that has an address."""

        def gone(tx: Tx) -> None:
            stored = port_rows.stored_of(address)
            port_calls.delete_ports(
                tx,
                [
                    tx.value(
                        addresses.select().with_only_columns(addresses.c.port_id).where(addresses.c.address == stored)
                    )
                ],
            )

        await self.database.write(gone)

    async def count(self) -> int:
        return await self.database.read(lambda tx: len(tx.all(ports.select())))


@pytest.fixture
def net(database: Database) -> Net:
    return Net(database)


async def test_one_request_gets_addresses_in_order_and_none_twice(net: Net) -> None:
    await net.begin("10.0.0.0/24")
    assert await net.take(None, None, None) == [["10.0.0.2"], ["10.0.0.3"], ["10.0.0.4"]]
    assert await net.take(None) == [["10.0.0.5"]]


async def test_what_is_named_is_set_aside_before_anything_is_chosen(net: Net) -> None:
    await net.begin("10.0.0.0/24")
    assert await net.take(None, (WantedIp(ip_address="10.0.0.2"),), None) == [["10.0.0.3"], ["10.0.0.2"], ["10.0.0.4"]]


async def test_an_address_that_became_free_rests_until_the_circle_comes_round(net: Net) -> None:
    await net.begin("10.0.0.0/29")
    assert await net.take(None, None, None) == [["10.0.0.2"], ["10.0.0.3"], ["10.0.0.4"]]
    await net.free("10.0.0.3")
    assert await net.take(None, None) == [["10.0.0.5"], ["10.0.0.6"]]
    assert await net.take(None) == [["10.0.0.3"]]
    with pytest.raises(ipam.IpAddressGenerationFailure) as failure:
        await net.take(None)
    assert failure.value.facts["index"] == 0
    assert net.id in failure.value.message


async def test_a_request_that_needs_one_address_too_many_takes_none(net: Net) -> None:
    await net.begin("10.0.0.0/29")
    with pytest.raises(ipam.IpAddressGenerationFailure) as failure:
        await net.take(*[None] * 6)
    assert failure.value.facts["index"] == 5
    assert await net.count() == 0
    assert len(await net.take(*[None] * 5)) == 5


async def test_the_gateway_is_never_handed_out_but_may_be_asked_for(net: Net) -> None:
    await net.begin("10.0.0.0/29")
    chosen = [ip for ips in await net.take(*[None] * 5) for ip in ips]
    assert "10.0.0.1" not in chosen
    assert await net.take((WantedIp(ip_address="10.0.0.1"),)) == [["10.0.0.1"]]


async def test_pools_are_walked_one_after_the_other(net: Net) -> None:
    await net.begin("10.0.0.0/24", pools=(("10.0.0.100", "10.0.0.101"), ("10.0.0.10", "10.0.0.11")))
    taken = await net.take(*[None] * 4)
    assert taken == [["10.0.0.10"], ["10.0.0.11"], ["10.0.0.100"], ["10.0.0.101"]]
    assert await net.take((WantedIp(ip_address="10.0.0.50"),)) == [["10.0.0.50"]]


async def test_the_second_subnet_is_used_when_the_first_is_full(net: Net) -> None:
    await net.begin("10.0.0.0/30", "10.0.1.0/24")
    assert await net.take(None, None, None) == [["10.0.0.2"], ["10.0.1.2"], ["10.0.1.3"]]


async def test_one_address_of_each_version(net: Net) -> None:
    await net.begin("10.0.0.0/24", "10.0.1.0/24", "2001:db8::/64")
    assert await net.take(None, None) == [["10.0.0.2", "2001:db8::2"], ["10.0.0.3", "2001:db8::3"]]


async def test_a_crowded_subnet_still_gives_its_last_address(net: Net) -> None:
    await net.begin("10.0.0.0/22")
    await net.take(*[None] * 1021)
    with pytest.raises(ipam.IpAddressGenerationFailure):
        await net.take(None)
    await net.free("10.0.2.77")
    assert await net.take(None) == [["10.0.2.77"]]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (WantedIp(ip_address="192.0.2.1"), ipam.InvalidIpForNetwork),
        (WantedIp(ip_address="10.0.0.0"), ipam.InvalidIpForNetwork),
        (WantedIp(ip_address="10.0.0.255"), ipam.InvalidIpForNetwork),
        (WantedIp(ip_address="2001:db8::1"), ipam.InvalidIpForNetwork),
        (WantedIp(ip_address="10.0.0.999"), InvalidInput),
        (WantedIp(), InvalidInput),
        (WantedIp(subnet_id=SubnetId("11111111-1111-1111-1111-111111111111")), InvalidInput),
    ],
)
async def test_addresses_that_cannot_be_had(net: Net, wanted: WantedIp, error: type[Exception]) -> None:
    await net.begin("10.0.0.0/24")
    with pytest.raises(error) as failure:
        await net.take(None, (wanted,))
    assert failure.value.facts["index"] == 1  # type: ignore[attr-defined]
    assert await net.count() == 0


async def test_an_address_of_another_subnet_than_named(net: Net) -> None:
    await net.begin("10.0.0.0/24", "10.0.1.0/24")
    with pytest.raises(ipam.InvalidIpForSubnet):
        await net.take((WantedIp(subnet_id=net.subnets[1], ip_address="10.0.0.9"),))
    assert await net.take((WantedIp(subnet_id=net.subnets[1]), WantedIp(subnet_id=net.subnets[0]))) == [
        ["10.0.1.2", "10.0.0.2"]
    ]


async def test_an_address_in_use_and_an_address_twice(net: Net) -> None:
    await net.begin("10.0.0.0/24")
    await net.take((WantedIp(ip_address="10.0.0.9"),))
    with pytest.raises(ipam.IpAddressInUse) as failure:
        await net.take(None, None, (WantedIp(ip_address="10.0.0.9"),))
    assert failure.value.facts["index"] == 2
    with pytest.raises(InvalidInput, match=r"10\.0\.0\.7 is asked for twice") as twice:
        await net.take((WantedIp(ip_address="10.0.0.7"),), None, (WantedIp(ip_address="10.0.0.7"),))
    assert twice.value.facts["index"] == 2


async def test_the_statements_for_a_port_do_not_grow_with_the_addresses_in_use(net: Net) -> None:
    await net.begin("10.0.0.0/16")

    def reads(tx: Tx) -> int:
        """How many rows the choice of 8 addresses reads."""
        rows = 0
        real = tx.all

        def counted(statement: object, values: object = None) -> object:
            nonlocal rows
            found = real(statement, values)  # type: ignore[arg-type]
            rows += len(found)
            return found

        tx.all = counted  # type: ignore[method-assign,assignment]
        spaces = subnets.spaces_of(tx, [net.id])
        ipam.allocate(tx, spaces, [Want(network_id=net.id, mac_address="fa:16:3e:00:00:01")] * 8)
        return rows

    before = await net.database.write(reads)
    for _ in range(3):
        await net.take(*[None] * 1000)
    assert await net.database.write(reads) == before
