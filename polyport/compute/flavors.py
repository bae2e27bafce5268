"""Flavors: sizes of servers. A server keeps its flavor as it was at boot, so a flavor can go at any time."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import flavor_access, flavors
from polyport.errors import Conflict, NotFound
from polyport.ids import ProjectId


class FlavorNotFound(NotFound):
    """Flavor {flavor_id} could not be found."""


class FlavorIdExists(Conflict):
    """Flavor with ID {flavor_id} already exists."""


class FlavorExists(Conflict):
    """Flavor with name {name} already exists."""


class ExtraSpecNotFound(NotFound):
    """Flavor {flavor_id} has no extra specs with key {key}."""


class FlavorAccessExists(Conflict):
    """Flavor access already exists for flavor {flavor_id} and project {project_id} combination."""


class FlavorAccessNotFound(NotFound):
    """Flavor access not found for {flavor_id} / {project_id} combination."""


class Flavor(Struct, frozen=True, kw_only=True):
    """`number` is the row's own and never used again; `id` is what clients call it, often a short word."""

    number: int
    id: str
    name: str
    description: str | None = None
    vcpus: int
    ram: int
    """MiB"""
    disk: int
    """GiB; 0 is as large as the image."""
    ephemeral: int = 0
    swap: int = 0
    """MiB"""
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    extra_specs: Mapping[str, str] = {}


SORT_COLUMNS: Mapping[str, sa.ColumnElement[Any]] = {
    "id": flavors.c.id,
    "flavorid": flavors.c.flavor_id,
    "name": flavors.c.name,
    "description": flavors.c.description,
    "vcpus": flavors.c.vcpus,
    "memory_mb": flavors.c.ram,
    "root_gb": flavors.c.disk,
    "ephemeral_gb": flavors.c.ephemeral,
    "swap": flavors.c.swap,
    "rxtx_factor": flavors.c.rxtx_factor,
    "is_public": flavors.c.is_public,
    "disabled": flavors.c.disabled,
}
"""What lists can be sorted by, in the words of the API."""


def sort_values(flavor: Flavor) -> dict[str, Any]:
    """The values of `SORT_COLUMNS` in one flavor."""
    return {
        "id": flavor.number,
        "flavorid": flavor.id,
        "name": flavor.name,
        "description": flavor.description,
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.ram,
        "root_gb": flavor.disk,
        "ephemeral_gb": flavor.ephemeral,
        "swap": flavor.swap,
        "rxtx_factor": flavor.rxtx_factor,
        "is_public": flavor.is_public,
        "disabled": flavor.disabled,
    }


_BY_ID = sa.select(flavors).where(flavors.c.flavor_id == sa.bindparam("flavor_id"))


def read_flavor(row: sa.Row[Any]) -> Flavor:
    return Flavor(
        number=row.id,
        id=row.flavor_id,
        name=row.name,
        description=row.description,
        vcpus=row.vcpus,
        ram=row.ram,
        disk=row.disk,
        ephemeral=row.ephemeral,
        swap=row.swap,
        rxtx_factor=row.rxtx_factor,
        is_public=row.is_public,
        disabled=row.disabled,
        extra_specs=row.extra_specs,
    )


def get_flavor(tx: Tx, context: Context, flavor_id: str) -> Flavor:
    """The flavor a client names. Raises `FlavorNotFound` also for one that the caller's project may not use."""
    flavor = _by_id(tx, flavor_id)
    if not (flavor.is_public or context.is_admin or _has_access(tx, flavor, context.project_id)):
        raise FlavorNotFound(flavor_id=flavor_id)
    return flavor


def select_flavors(
    context: Context, *, is_public: bool | None = True, min_disk: int = 0, min_ram: int = 0
) -> sa.Select[Any]:
    """The flavors a caller may see, as a statement to page through. Only administrators choose `is_public`: False is
    those that are not, None is all."""
    wanted = is_public if context.is_admin else True
    statement = sa.select(flavors).where(flavors.c.disk >= min_disk, flavors.c.ram >= min_ram)
    if not context.is_admin:
        statement = statement.where(flavors.c.disabled.is_(False))
    if wanted is None:
        return statement
    if not wanted:
        return statement.where(flavors.c.is_public.is_(False))
    granted = sa.exists().where(
        flavor_access.c.flavor == flavors.c.id, flavor_access.c.project_id == context.project_id
    )
    return statement.where(sa.or_(flavors.c.is_public.is_(True), granted))


def create_flavor(
    tx: Tx,
    *,
    flavor_id: str,
    name: str,
    vcpus: int,
    ram: int,
    disk: int,
    ephemeral: int = 0,
    swap: int = 0,
    rxtx_factor: float = 1.0,
    is_public: bool = True,
    description: str | None = None,
) -> Flavor:
    """Raises `FlavorIdExists` or `FlavorExists`."""
    if tx.first(_BY_ID, {"flavor_id": flavor_id}) is not None:
        raise FlavorIdExists(flavor_id=flavor_id)
    row = {
        "flavor_id": flavor_id,
        "name": name,
        "vcpus": vcpus,
        "ram": ram,
        "disk": disk,
        "ephemeral": ephemeral,
        "swap": swap,
        "rxtx_factor": rxtx_factor,
        "is_public": is_public,
        "description": description,
    }
    try:
        tx.execute(sa.insert(flavors), row)
    except IntegrityError as error:
        raise FlavorExists(name=name) from error
    return _by_id(tx, flavor_id)


def describe_flavor(tx: Tx, flavor_id: str, description: str | None) -> Flavor:
    """Change a flavor's description, the one thing of it that can be changed. Raises `FlavorNotFound`."""
    _change(tx, flavor_id, description=description)
    return _by_id(tx, flavor_id)


def delete_flavor(tx: Tx, flavor_id: str) -> None:
    """Raises `FlavorNotFound`."""
    if tx.execute(sa.delete(flavors).where(flavors.c.flavor_id == flavor_id)).rowcount == 0:
        raise FlavorNotFound(flavor_id=flavor_id)


def add_extra_specs(tx: Tx, flavor_id: str, specs: Mapping[str, str]) -> None:
    """Add to the extra specs, or change those that are there. Raises `FlavorNotFound`."""
    flavor = _by_id(tx, flavor_id)
    _change(tx, flavor_id, extra_specs={**flavor.extra_specs, **specs})


def remove_extra_spec(tx: Tx, flavor_id: str, key: str) -> None:
    """Raises `FlavorNotFound` or `ExtraSpecNotFound`."""
    left = dict(_by_id(tx, flavor_id).extra_specs)
    if left.pop(key, None) is None:
        raise ExtraSpecNotFound(flavor_id=flavor_id, key=key)
    _change(tx, flavor_id, extra_specs=left)


def access_of(tx: Tx, flavor: Flavor) -> Sequence[ProjectId]:
    """The projects that may use a flavor although it is not public."""
    rows = tx.all(
        sa.select(flavor_access.c.project_id)
        .where(flavor_access.c.flavor == flavor.number)
        .order_by(flavor_access.c.project_id)
    )
    return [row.project_id for row in rows]


def add_access(tx: Tx, flavor: Flavor, project_id: ProjectId) -> None:
    """Raises `FlavorAccessExists`."""
    if _has_access(tx, flavor, project_id):
        raise FlavorAccessExists(flavor_id=flavor.id, project_id=project_id)
    tx.execute(sa.insert(flavor_access), {"flavor": flavor.number, "project_id": project_id})


def remove_access(tx: Tx, flavor: Flavor, project_id: ProjectId) -> None:
    """Raises `FlavorAccessNotFound`."""
    entry = (flavor_access.c.flavor == flavor.number, flavor_access.c.project_id == project_id)
    if tx.execute(sa.delete(flavor_access).where(*entry)).rowcount == 0:
        raise FlavorAccessNotFound(flavor_id=flavor.id, project_id=project_id)


def seed(tx: Tx) -> None:
    """The flavors a cloud begins with: names, numbers and sizes are DevStack's, which clients' examples use;
    only m1.nano is smaller than there."""
    for flavor_id, name, ram, disk, vcpus in _FIRST:
        create_flavor(tx, flavor_id=flavor_id, name=name, ram=ram, disk=disk, vcpus=vcpus)


_FIRST = (
    ("42", "m1.nano", 128, 1, 1),
    ("84", "m1.micro", 256, 1, 1),
    ("1", "m1.tiny", 512, 1, 1),
    ("2", "m1.small", 2048, 20, 1),
    ("3", "m1.medium", 4096, 40, 2),
    ("4", "m1.large", 8192, 80, 4),
    ("5", "m1.xlarge", 16384, 160, 8),
)


def _by_id(tx: Tx, flavor_id: str) -> Flavor:
    row = tx.first(_BY_ID, {"flavor_id": flavor_id})
    if row is None:
        raise FlavorNotFound(flavor_id=flavor_id)
    return read_flavor(row)


def _has_access(tx: Tx, flavor: Flavor, project_id: str) -> bool:
    entry = (flavor_access.c.flavor == flavor.number, flavor_access.c.project_id == project_id)
    return tx.first(sa.select(flavor_access.c.flavor).where(*entry)) is not None


def _change(tx: Tx, flavor_id: str, **values: Any) -> None:
    changed = tx.execute(sa.update(flavors).where(flavors.c.flavor_id == flavor_id).values(**values))
    if changed.rowcount == 0:
        raise FlavorNotFound(flavor_id=flavor_id)
