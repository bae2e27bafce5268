"""Quotas: check and count in one step, inside the transaction that makes the thing.

Counters move only here, so two requests at once cannot both take the last place. Defaults are rows of the project ''
(written from the configuration at start), so that a limit is looked up in one statement.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from polyport.db.engine import Tx
from polyport.db.tables.quota import limits, usages
from polyport.errors import OverQuota
from polyport.ids import ProjectId

DEFAULTS = ProjectId("")
UNLIMITED = -1


class QuotaExceeded(OverQuota):
    """Quota exceeded for {resources}: Requested {requested}, but already used {used} of {most} {resources}"""


def limits_of(tx: Tx, project_id: ProjectId) -> dict[str, int]:
    """Every limit of a project: its own, else the default."""
    rows = tx.all(
        sa.select(limits.c.resource, limits.c.most)
        .where(limits.c.project_id.in_((DEFAULTS, project_id)))
        .order_by(limits.c.project_id)
    )
    return {row.resource: row.most for row in rows}


def usage_of(tx: Tx, project_id: ProjectId) -> dict[str, int]:
    """What a project has; a resource it never had is not in it."""
    rows = tx.all(sa.select(usages.c.resource, usages.c.used).where(usages.c.project_id == project_id))
    return {row.resource: row.used for row in rows}


def charge(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    """Count `amounts` (resource -> how many more) to a project. Raises `QuotaExceeded`, whose `facts` name the first
    resource that does not fit (`resource`, `requested`, `used`, `most`), and counts nothing then."""
    rows = tx.all(_BOTH, {"project": project_id, "defaults": DEFAULTS, "resources": sorted(amounts)})
    most = {row.resource: row.number for row in rows if row.kind == 1}
    most.update({row.resource: row.number for row in rows if row.kind == 2})
    used = {row.resource: row.number for row in rows if row.kind == 3}
    for resource, more in amounts.items():
        limit, had = most.get(resource, UNLIMITED), used.get(resource, 0)
        if more > 0 and limit != UNLIMITED and had + more > limit:
            raise QuotaExceeded(resources=resource, resource=resource, requested=more, used=had, most=limit)
    _count(tx, project_id, amounts)


def count(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    """Count `amounts` to a project whatever its limits: for what the cloud makes by itself, as default security groups."""
    _count(tx, project_id, amounts)


def refund(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    """Take `amounts` off a project's count."""
    _count(tx, project_id, {resource: -less for resource, less in amounts.items()})


def set_limits(tx: Tx, project_id: ProjectId, wanted: Mapping[str, int]) -> None:
    """Give a project limits of its own (or, for `DEFAULTS`, everybody)."""
    rows = [{"project_id": project_id, "resource": name, "most": most} for name, most in wanted.items()]
    statement = insert(limits)
    tx.execute(
        statement.on_conflict_do_update(["project_id", "resource"], set_={"most": statement.excluded.most}),
        rows,
    )


def reset_limits(tx: Tx, project_id: ProjectId, resources: tuple[str, ...]) -> None:
    """Back to the defaults for these resources."""
    tx.execute(sa.delete(limits).where(limits.c.project_id == project_id, limits.c.resource.in_(resources)))


def _count(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    for resource, more in amounts.items():
        if more and tx.execute(_ADD, {"p": project_id, "r": resource, "n": more}).rowcount == 0:
            tx.execute(sa.insert(usages), {"project_id": project_id, "resource": resource, "used": max(more, 0)})


_ADD = (
    sa.update(usages)
    .where(usages.c.project_id == sa.bindparam("p"), usages.c.resource == sa.bindparam("r"))
    .values(used=usages.c.used + sa.bindparam("n"))
)

_BOTH = sa.union_all(
    sa.select(limits.c.resource, limits.c.most.label("number"), sa.literal(1).label("kind")).where(
        limits.c.project_id == sa.bindparam("defaults"),
        limits.c.resource.in_(sa.bindparam("resources", expanding=True)),
    ),
    sa.select(limits.c.resource, limits.c.most, sa.literal(2)).where(
        limits.c.project_id == sa.bindparam("project"),
        limits.c.resource.in_(sa.bindparam("resources", expanding=True)),
    ),
    sa.select(usages.c.resource, usages.c.used, sa.literal(3)).where(
        usages.c.project_id == sa.bindparam("project"),
        usages.c.resource.in_(sa.bindparam("resources", expanding=True)),
    ),
)
