"""The configuration: one frozen value, read once, passed to whoever needs it, never global.

Read from a TOML file (`polyport up --config FILE`); every field has a default that fits one machine. Unknown keys are
refused, so that a misspelt one is noticed.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from polyport.errors import Invalid


class ConfigError(Invalid):
    """The configuration {path} is not valid: {reason}."""


class NoConfig(Invalid):
    """The configuration {path} cannot be read: {reason}."""


class Api(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8774
    public_url: str | None = None
    """What clients are told in catalog and links; from the request's Host header where not set."""
    most_body_bytes: Annotated[int, Meta(ge=1 << 10)] = 1 << 20
    token_hours: Annotated[float, Meta(gt=0, le=24 * 366)] = 24.0


class HypervisorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    driver: Literal["qemu", "fake"] = "qemu"
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    emulator: str = "qemu-system-x86_64"
    run_as: Annotated[str, Meta(pattern=r"^([0-9]+:[0-9]+)?$")] = "65534:65534"
    """`uid:gid` QEMU drops to once it has opened what it needs, so that a guest that breaks out of it is nobody; empty:
    it keeps the agent's user. Where the agent is not root, QEMU keeps its user anyway."""


class DataplaneConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    driver: Literal["bridge", "fake"] = "bridge"
    namespace: str = "polyport"
    broadcast_rate: Annotated[int, Meta(ge=1)] = 1000
    """Broadcast, multicast and unknown-unicast frames a port may send per second."""
    broadcast_burst: Annotated[int, Meta(ge=1)] = 2000
    sibling_rate: Annotated[int, Meta(ge=1)] = 20
    """The same, between two NICs of one server on one network."""
    connection_tracking: Literal["auto", "bridge", "inet"] = "auto"
    """Where the kernel tracks connections, for security groups: in nftables' bridge family, or in its inet family by
    way of br_netfilter; `auto` takes the first that works."""


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most a capture of a port may be asked for, and gets where it is not asked for less."""

    seconds: Annotated[int, Meta(ge=1)] = 3600
    bytes: Annotated[int, Meta(ge=1 << 10)] = 1 << 30
    """Of the whole stream."""
    snaplen: Annotated[int, Meta(ge=64, le=1 << 18)] = 1 << 18
    """Octets of each frame; guests hand over frames of up to 64 KiB."""
    at_once: int = 8
    """Captures of the whole cloud at the same time; 0: there are none."""
    at_once_per_project: int = 4
    at_once_per_port: int = 2


Quota = Annotated[int, Meta(ge=-1)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Quotas of a project where none are set for it; -1 is no limit."""

    instances: Quota = 10000
    cores: Quota = 40000
    ram: Quota = 80_000_000
    metadata_items: Quota = 128
    key_pairs: Quota = 100
    server_groups: Quota = 10
    server_group_members: Quota = 10
    injected_files: Quota = 5
    """Files that may be put into a guest at boot."""
    injected_file_content_bytes: Quota = 10240
    injected_file_path_bytes: Quota = 255
    network: Quota = 1000
    subnet: Quota = 1000
    port: Quota = 100_000
    router: Quota = 100
    floatingip: Quota = 500
    security_group: Quota = 1000
    security_group_rule: Quota = 10_000
    nic_slots: Annotated[int, Meta(ge=1, le=248)] = 62
    """NIC places of a guest whose image names no number of its own (`polyport_nic_slots`)."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    state: Path = Path("/var/lib/polyport")
    """Where everything lives: the database, images, guests."""
    database: str | None = None
    """An SQLAlchemy URL; SQLite in the state directory where not set."""
    region: str = "RegionOne"
    host: str = "localhost"
    """The name of this host in plans and reports."""
    admin_password: str | None = None
    """Password of `admin` when the database is made; drawn at random, and written to clouds.yaml, where not set."""
    timer: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """Seconds between two rounds of the agent that nobody asked for."""
    policy_routing: bool = True
    """Whether guests are told, by vendor data that cloud-init carries out, to route each NIC's traffic by itself."""
    api: Api = field(default_factory=Api)
    hypervisor: HypervisorConfig = field(default_factory=HypervisorConfig)
    dataplane: DataplaneConfig = field(default_factory=DataplaneConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    limits: Limits = field(default_factory=Limits)

    @property
    def database_file(self) -> Path:
        """Where the database is when `database` does not say it."""
        return self.state / "polyport.db"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.database_file}"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def servers(self) -> Path:
        return self.state / "servers"


def read_config(path: Path) -> Config:
    """The configuration a TOML file holds. Raises `NoConfig`, and `ConfigError` naming the file and the field."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NoConfig(path=path, reason=error.strerror) from error
    try:
        return msgspec.toml.decode(text, type=Config, dec_hook=_path)
    except msgspec.MsgspecError as error:
        raise ConfigError(path=path, reason=error) from error


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value.startswith("/"):
        return Path(value)
    raise ValueError("an absolute path is wanted")
