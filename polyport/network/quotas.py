"""The network service's part of quotas: which things are counted, and what a project has of them."""

from collections.abc import Mapping

import sqlalchemy as sa
from msgspec import Struct

from polyport import quotas
from polyport.db.engine import Tx
from polyport.db.tables.quota import limits
from polyport.errors import Invalid
from polyport.ids import ProjectId

RESOURCES = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")


class InvalidQuotaValue(Invalid):
    """Change would make usage less than 0 for the following resources: {unders}."""


class Usage(Struct, frozen=True):
    limit: int
    used: int


def limits_of(tx: Tx, project_id: ProjectId) -> dict[str, int]:
    """Every limit of a project; -1 is none."""
    found = quotas.limits_of(tx, project_id)
    return {resource: found.get(resource, quotas.UNLIMITED) for resource in RESOURCES}


def usage_of(tx: Tx, project_id: ProjectId) -> dict[str, Usage]:
    most, used = limits_of(tx, project_id), quotas.usage_of(tx, project_id)
    return {resource: Usage(most[resource], used.get(resource, 0)) for resource in RESOURCES}


def projects_with_limits(tx: Tx) -> list[ProjectId]:
    """Those that have limits of their own."""
    rows = tx.all(
        sa.select(limits.c.project_id)
        .distinct()
        .where(limits.c.project_id.not_in((quotas.DEFAULTS, quotas.CONFIGURED)), limits.c.resource.in_(RESOURCES))
        .order_by(limits.c.project_id)
    )
    return [ProjectId(row[0]) for row in rows]


def set_limits(tx: Tx, project_id: ProjectId, wanted: Mapping[str, int], *, check: bool = False) -> None:
    """With `check`, limits below what is used are refused with `InvalidQuotaValue`."""
    if check:
        used = quotas.usage_of(tx, project_id)
        low = sorted(name for name, most in wanted.items() if quotas.UNLIMITED < most < used.get(name, 0))
        if low:
            raise InvalidQuotaValue(unders=", ".join(low))
    quotas.set_limits(tx, project_id, wanted)


def reset_limits(tx: Tx, project_id: ProjectId) -> None:
    quotas.reset_limits(tx, project_id, RESOURCES)
