"""Quotas: check and count in one step, inside the transaction that makes the thing.

Counters move only here, so two requests at once cannot both take the last place. Defaults are rows of the project ''
(the configuration's, until an administrator changes them for everybody), so that a limit is looked up in one statement.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.sqlite import insert

from polyport.db.engine import Tx
from polyport.db.tables.quota import limits, usages
from polyport.errors import OverQuota
from polyport.ids import ProjectId

DEFAULTS = ProjectId("")
CONFIGURED = ProjectId("=configuration")
"""Whose limits are those the configuration had at the last start. No project can have this id."""
UNLIMITED = -1


class QuotaExceeded(OverQuota):
    """Quota exceeded for {resources}: Requested {requested}, but already used {used} of {most} {resources}"""


class Quota(Struct, frozen=True):
    """What a project may have, and what it has: resource -> number. One that is not in `limits` has none, one that is
    not in `usage` it never had."""

    limits: Mapping[str, int]
    usage: Mapping[str, int]

    def room(self, resource: str) -> int | None:
        """How many more there may be; None is any number."""
        most = self.limits.get(resource, UNLIMITED)
        return None if most == UNLIMITED else most - self.usage.get(resource, 0)


def quota_of(tx: Tx, project_id: ProjectId) -> Quota:
    """A project's limits (its own, else the defaults) and usage, in one statement."""
    rows = tx.tuples(_BOTH, {"project": project_id, "defaults": DEFAULTS})
    most = {resource: number for kind, resource, number in rows if kind == 1}
    most.update((resource, number) for kind, resource, number in rows if kind == 2)
    return Quota(most, {resource: number for kind, resource, number in rows if kind == 3})


def limits_of(tx: Tx, project_id: ProjectId) -> dict[str, int]:
    """Every limit of a project: its own, else the default."""
    rows = tx.tuples(_LIMITS, {"defaults": DEFAULTS, "project": project_id})
    return dict(rows)


def usage_of(tx: Tx, project_id: ProjectId) -> dict[str, int]:
    """What a project has; a resource it never had is not in it."""
    rows = tx.all(sa.select(usages.c.resource, usages.c.used).where(usages.c.project_id == project_id))
    return {row.resource: row.used for row in rows}


def charge(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int], quota: Quota | None = None) -> None:
    """Count `amounts` (resource -> how many more) to a project, whose `quota` the caller may have read in this
    transaction. Raises `QuotaExceeded`, whose `facts` name the first resource that does not fit (`resource`,
    `requested`, `used`, `most`), and counts nothing then."""
    if quota is None:
        quota = quota_of(tx, project_id)
    for resource, more in amounts.items():
        room = quota.room(resource)
        if more > 0 and room is not None and more > room:
            used, most = quota.usage.get(resource, 0), quota.limits[resource]
            raise QuotaExceeded(resources=resource, resource=resource, requested=more, used=used, most=most)
    _count(tx, project_id, amounts)


def count(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    """Count `amounts` to a project whatever its limits: what the cloud makes by itself, as default security groups."""
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


def configure(tx: Tx, wanted: Mapping[str, int]) -> None:
    """Give everybody the limits of the configuration that are not what they were at the last start. The others stay
    what an administrator has made of them."""
    before = dict(tx.tuples(sa.select(limits.c.resource, limits.c.most).where(limits.c.project_id == CONFIGURED)))
    changed = {resource: most for resource, most in wanted.items() if before.get(resource) != most}
    if changed:
        set_limits(tx, DEFAULTS, changed)
        set_limits(tx, CONFIGURED, changed)


def reset_limits(tx: Tx, project_id: ProjectId, resources: tuple[str, ...]) -> None:
    """Back to the defaults for these resources."""
    tx.execute(sa.delete(limits).where(limits.c.project_id == project_id, limits.c.resource.in_(resources)))


def _count(tx: Tx, project_id: ProjectId, amounts: Mapping[str, int]) -> None:
    more = [{"project_id": project_id, "resource": resource, "used": n} for resource, n in amounts.items() if n > 0]
    less = [{"p": project_id, "r": resource, "n": n} for resource, n in amounts.items() if n < 0]
    if more:
        tx.execute(_ADD_OR_BEGIN, more)
    if less:
        tx.execute(_ADD, less)


_ADD = (
    sa.update(usages)
    .where(usages.c.project_id == sa.bindparam("p"), usages.c.resource == sa.bindparam("r"))
    .values(used=usages.c.used + sa.bindparam("n"))
)

_begin = insert(usages)
_ADD_OR_BEGIN = _begin.on_conflict_do_update(
    ["project_id", "resource"], set_={"used": usages.c.used + _begin.excluded.used}
)

_LIMITS = (
    sa.select(limits.c.resource, limits.c.most)
    .where(limits.c.project_id.in_((sa.bindparam("defaults"), sa.bindparam("project"))))
    .order_by(limits.c.project_id)
)

# Without a condition on resources: a project has a dozen or two, and a list in a statement costs more than they do.
_BOTH = sa.union_all(
    sa.select(sa.literal_column("1").label("kind"), limits.c.resource, limits.c.most).where(
        limits.c.project_id == sa.bindparam("defaults")
    ),
    sa.select(sa.literal_column("2"), limits.c.resource, limits.c.most).where(
        limits.c.project_id == sa.bindparam("project")
    ),
    sa.select(sa.literal_column("3"), usages.c.resource, usages.c.used).where(
        usages.c.project_id == sa.bindparam("project")
    ),
)
