"""Tables of the compute service.

A NIC is a port in a slot of a server. The slot is unique in its server, the port is unique among all NICs; the network
is not unique in anything, on purpose. Order of NICs is order of slots, everywhere.
"""

import sqlalchemy as sa

from polyport.db.tables.metadata import metadata

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("hypervisor", sa.String(32), nullable=False, default=""),
    sa.Column("hypervisor_version", sa.String(32), nullable=False, default=""),
    sa.Column("accelerator", sa.String(16), nullable=False, default=""),
    sa.Column("dataplane", sa.String(32), nullable=False, default=""),
    sa.Column("cpus", sa.Integer, nullable=False, default=0),
    sa.Column("memory_mb", sa.Integer, nullable=False, default=0),
    sa.Column("disk_gb", sa.Integer, nullable=False, default=0),
    sa.Column("promised_vcpus", sa.Integer, nullable=False, default=0),  # to servers that are there
    sa.Column("promised_memory_mb", sa.BigInteger, nullable=False, default=0),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("disabled_reason", sa.String(255), nullable=True),
    sa.Column("forced_down", sa.Boolean, nullable=False, default=False),
    sa.Column("seen_at", sa.String(26), nullable=True),
)

flavors = sa.Table(
    "flavors",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("flavor_id", sa.String(255), nullable=False, unique=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=True),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("ram", sa.Integer, nullable=False),
    sa.Column("disk", sa.Integer, nullable=False),
    sa.Column("ephemeral", sa.Integer, nullable=False, default=0),
    sa.Column("swap", sa.Integer, nullable=False, default=0),
    sa.Column("rxtx_factor", sa.Float, nullable=False, default=1.0),
    sa.Column("is_public", sa.Boolean, nullable=False, default=True),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("extra_specs", sa.JSON, nullable=False, default=dict),
    sqlite_autoincrement=True,  # servers keep the number of a flavor that is gone
)

flavor_access = sa.Table(
    "flavor_access",
    metadata,
    sa.Column("flavor", sa.Integer, sa.ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("project_id", sa.String(64), primary_key=True),  # may use it although it is not public
)

keypairs = sa.Table(
    "keypairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(8), nullable=False, default="ssh"),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # order of creation, for paging
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=True),
    sa.Column("host", sa.String(255), nullable=False, default=""),
    sa.Column("availability_zone", sa.String(255), nullable=False, default="nova"),
    sa.Column("pinned_zone", sa.String(255), nullable=True),  # the zone that was asked for, if one was
    sa.Column("vm_state", sa.String(16), nullable=False),  # compute/states.py has the drawing
    sa.Column("task_state", sa.String(24), nullable=True),
    sa.Column("power_state", sa.Integer, nullable=False, default=0),
    sa.Column("wanted", sa.String(8), nullable=False),  # running | stopped | paused | gone
    sa.Column("boot", sa.Integer, nullable=False, default=1),
    sa.Column("restart", sa.String(4), nullable=False, default="hard"),
    sa.Column("disk", sa.Integer, nullable=False, default=1),
    sa.Column("locked", sa.Boolean, nullable=False, default=False),
    sa.Column("locked_reason", sa.String(255), nullable=True),
    sa.Column("locked_by", sa.String(8), nullable=True),  # owner | admin
    sa.Column("image_id", sa.String(36), nullable=True, index=True),
    sa.Column("image", sa.JSON(none_as_null=True), nullable=True),  # as it was at boot (compute/boot_images.BootImage)
    sa.Column("flavor_number", sa.Integer, nullable=False),
    sa.Column("flavor", sa.JSON, nullable=False),  # as it was at boot
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("root_gb", sa.Integer, nullable=False),
    sa.Column("nic_slots", sa.Integer, nullable=False),
    sa.Column("key_name", sa.String(255), nullable=True),
    sa.Column("key", sa.JSON(none_as_null=True), nullable=True),  # [name, public key, type] as it was at boot
    sa.Column("user_data", sa.Text, nullable=True),
    sa.Column("personality", sa.JSON(none_as_null=True), nullable=True),  # [[path, base64]] for the guest
    sa.Column("config_drive", sa.Boolean, nullable=False, default=False),  # as asked for; hosts always provide one
    sa.Column("disk_config", sa.String(6), nullable=False, default="MANUAL"),
    sa.Column("metadata", sa.JSON, nullable=False, default=dict),
    sa.Column("tags", sa.JSON, nullable=False, default=list),
    sa.Column("access_ip_v4", sa.String(64), nullable=False, default=""),
    sa.Column("access_ip_v6", sa.String(64), nullable=False, default=""),
    sa.Column("admin_password", sa.String(255), nullable=True),
    sa.Column("trusted_certificates", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("scheduler_hints", sa.JSON, nullable=False, default=dict),
    sa.Column("group_id", sa.String(36), nullable=True),
    sa.Column("reservation_id", sa.String(16), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False, default=0),
    sa.Column("fault", sa.JSON(none_as_null=True), nullable=True),  # {code, message, created, details?}
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.Column("launched_at", sa.String(26), nullable=True),
    sa.Column("terminated_at", sa.String(26), nullable=True),  # when the host had cleaned up behind it
    sa.Column("deleted_at", sa.String(26), nullable=True),  # when the API deleted it
    sa.Column("plan_revision", sa.BigInteger, nullable=False),
    sa.Column("reported_revision", sa.BigInteger, nullable=False, default=0),  # up to which the host is done
    sa.CheckConstraint("wanted IN ('running', 'stopped', 'paused', 'gone')", name="wanted"),
)
sa.Index("ix_servers_project", servers.c.project_id, servers.c.deleted_at, servers.c.number)
sa.Index("ix_servers_alive", servers.c.deleted_at, servers.c.number)
sa.Index(
    "ix_servers_plan",
    servers.c.host,
    servers.c.plan_revision,
    sqlite_where=servers.c.terminated_at.is_(None),
    postgresql_where=servers.c.terminated_at.is_(None),
)

sa.Index(
    "ix_servers_group",
    servers.c.group_id,
    sqlite_where=servers.c.group_id.is_not(None),
    postgresql_where=servers.c.group_id.is_not(None),
)

nics = sa.Table(
    "nics",
    metadata,
    sa.Column("server_id", sa.String(36), sa.ForeignKey("servers.id"), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id"), nullable=False, unique=True),
    sa.Column("tag", sa.String(60), nullable=True),
    sa.Column("made_here", sa.Boolean, nullable=False),  # the port came with the NIC and goes with it
    sa.CheckConstraint("slot >= 1", name="slot"),
    sqlite_with_rowid=False,  # kept in the order of slots
)

server_actions = sa.Table(
    "server_actions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("action", sa.String(255), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("started_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
    sa.Column("finished_at", sa.String(26), nullable=True),
    sa.Column("message", sa.String(255), nullable=True),
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),  # of the plan that carries it out
)

server_events = sa.Table(
    "server_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "action_id",
        sa.Integer,
        sa.ForeignKey("server_actions.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("event", sa.String(255), nullable=False),
    sa.Column("started_at", sa.String(26), nullable=False),
    sa.Column("finished_at", sa.String(26), nullable=True),
    sa.Column("result", sa.String(16), nullable=True),  # Success | Error
    sa.Column("host", sa.String(255), nullable=True),
    sa.Column("details", sa.Text, nullable=True),
)

server_groups = sa.Table(
    "server_groups",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # order of creation
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("policy", sa.String(32), nullable=False),
    sa.Column("rules", sa.JSON, nullable=False, default=dict),
)
