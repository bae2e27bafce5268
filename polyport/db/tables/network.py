"""Tables of the network service.

There is deliberately no unique constraint on (device_id, network_id) of ports: a server may have any number of ports on
one network. `plan_revision` is drawn from `Tx.revision` whenever something changed that hosts must know.
Addresses are kept as 32 hexadecimal digits (IPv4 in the last eight), so that they sort as numbers and IPv6 fits.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from polyport.db.tables.metadata import metadata
from polyport.plan import AddressPair, StormPlan


class Json(sa.types.UserDefinedType[Any]):
    """JSON that is never NULL and has one type, decoded to it without a Python call for each value: a list of ports has
    thousands of them."""

    cache_ok = True

    def __init__(self, type: Any) -> None:
        self.type = type

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        encode = msgspec.json.Encoder().encode
        return lambda value: encode(value).decode()

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return msgspec.json.Decoder(self.type).decode


Texts = Json(tuple[str, ...])
Pairs = Json(tuple[tuple[str, str], ...])
Storm = Json(StormPlan | None)


networks = sa.Table(
    "networks",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False, default="", index=True),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("admin_state_up", sa.Boolean, nullable=False, default=True),
    sa.Column("shared", sa.Boolean, nullable=False, default=False),
    sa.Column("external", sa.Boolean, nullable=False, default=False),
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),
    sa.Column("mtu", sa.Integer, nullable=False, default=1500),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("storm", Storm, nullable=False),  # limits of the storm guard for its ports
    sa.Column("sibling_addresses", sa.Boolean, nullable=False, default=True),
    sa.Column("vni", sa.Integer, nullable=False, unique=True),
    sa.Column("tags", Texts, nullable=False),
    sa.Column("revision_number", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.Column("plan_revision", sa.BigInteger, nullable=False, index=True),
)

subnets = sa.Table(
    "subnets",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column(
        "network_id",
        sa.String(36),
        sa.ForeignKey("networks.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("name", sa.String(255), nullable=False, default="", index=True),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("gateway_ip", sa.String(64), nullable=True),
    sa.Column("enable_dhcp", sa.Boolean, nullable=False, default=True),
    sa.Column("allocation_pools", Pairs, nullable=False),  # [[first, last]] as text addresses, in order
    sa.Column("dns_nameservers", Texts, nullable=False),
    sa.Column("host_routes", Pairs, nullable=False),  # [[destination, nexthop]]
    sa.Column("ipv6_address_mode", sa.String(16), nullable=True),
    sa.Column("ipv6_ra_mode", sa.String(16), nullable=True),
    sa.Column("tags", Texts, nullable=False),
    sa.Column("next_address", sa.String(32), nullable=True),  # where the search for a free address goes on
    sa.Column("revision_number", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.CheckConstraint("ip_version IN (4, 6)", name="ip_version"),
)

ports = sa.Table(
    "ports",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("network_id", sa.String(36), sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, default="", index=True),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("admin_state_up", sa.Boolean, nullable=False, default=True),
    sa.Column("status", sa.String(8), nullable=False, default="DOWN"),  # ACTIVE | DOWN | BUILD | ERROR
    sa.Column("mac_address", sa.String(17), nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False, default="", index=True),
    sa.Column("device_owner", sa.String(255), nullable=False, default=""),
    sa.Column("host", sa.String(255), nullable=False, default=""),
    sa.Column("position", sa.Integer, nullable=True),  # the NIC's slot while a server has the port; NULL while none has
    sa.Column("vnic_type", sa.String(32), nullable=False, default="normal"),
    sa.Column("profile", Json(dict[str, Any]), nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("allowed_address_pairs", Json(tuple[AddressPair, ...]), nullable=False),
    sa.Column("extra_dhcp_opts", Json(tuple[tuple[str, str, int], ...]), nullable=False),  # [[name, value, ip_version]]
    sa.Column("security_groups", Texts, nullable=False),  # ids, in the order given; mirrored by bindings
    sa.Column("storm", Storm, nullable=False),  # limits of the storm guard, before those of the network
    sa.Column("quarantined", sa.Boolean, nullable=False, default=False),
    sa.Column("default_route", sa.Boolean, nullable=False, server_default=sa.false()),  # marked by its user
    sa.Column("tags", Texts, nullable=False),
    sa.Column("revision_number", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.Column("plan_revision", sa.BigInteger, nullable=False, index=True),
    sa.UniqueConstraint("network_id", "mac_address"),  # finds the ports of a network, too
)

addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("subnet_id", sa.String(36), sa.ForeignKey("subnets.id"), primary_key=True),
    sa.Column("address", sa.String(32), primary_key=True),
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),  # order among the addresses of the port
)
# Answers what addresses a port has by itself, without a look at the table: lists of servers live on it.
sa.Index("ix_addresses_port", addresses.c.port_id, addresses.c.position, addresses.c.subnet_id, addresses.c.address)

security_groups = sa.Table(
    "security_groups",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("stateful", sa.Boolean, nullable=False, default=True),
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),
    sa.Column("tags", Texts, nullable=False),
    sa.Column("revision_number", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.Column("plan_revision", sa.BigInteger, nullable=False, index=True),
)
sa.Index(
    "uq_security_groups_default",
    security_groups.c.project_id,
    unique=True,
    sqlite_where=security_groups.c.is_default,
    postgresql_where=security_groups.c.is_default,
)

security_group_rules = sa.Table(
    "security_group_rules",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column(
        "security_group_id",
        sa.String(36),
        sa.ForeignKey("security_groups.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("direction", sa.String(7), nullable=False),
    sa.Column("ethertype", sa.String(4), nullable=False),
    sa.Column("protocol", sa.String(16), nullable=True),
    sa.Column("port_range_min", sa.Integer, nullable=True),
    sa.Column("port_range_max", sa.Integer, nullable=True),
    sa.Column("remote_ip_prefix", sa.String(64), nullable=True),
    sa.Column(
        "remote_group_id",
        sa.String(36),
        sa.ForeignKey("security_groups.id", ondelete="CASCADE"),
        nullable=True,
    ),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("revision_number", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
)

group_refusals = sa.Table(
    "security_group_refusals",  # groups that a host has not in force as they are
    metadata,
    sa.Column(
        "security_group_id",
        sa.String(36),
        sa.ForeignKey("security_groups.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("reason", sa.String(255), nullable=False),
)

group_bindings = sa.Table(
    "security_group_bindings",
    metadata,
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("security_group_id", sa.String(36), sa.ForeignKey("security_groups.id"), primary_key=True, index=True),
)
