"""Security groups that hosts could not put in force as they are, as the hosts last reported."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from polyport.db.engine import Tx
from polyport.db.tables.network import group_refusals, security_groups
from polyport.ids import HostName, SecurityGroupId
from polyport.plan import RefusedGroup


def record(tx: Tx, host: HostName, refused: Iterable[RefusedGroup]) -> None:
    """These are all that a host refuses. Groups that are gone are left out without a word."""
    reasons = {group.id: group.reason[:255] for group in refused}
    tx.execute(sa.delete(group_refusals).where(group_refusals.c.host == host))
    there = tx.all(sa.select(security_groups.c.id).where(security_groups.c.id.in_(reasons))) if reasons else ()
    if there:
        rows = [{"security_group_id": row.id, "host": host, "reason": reasons[row.id]} for row in there]
        tx.execute(sa.insert(group_refusals), rows)


def reasons(tx: Tx, group_ids: Sequence[SecurityGroupId]) -> dict[SecurityGroupId, str]:
    """Of these groups those that a host refuses, and why: the words of one of the hosts."""
    if not group_ids:
        return {}
    return {row.security_group_id: row.reason for row in tx.all(_REASONS, {"ids": list(group_ids)})}


def count(tx: Tx) -> int:
    """How many groups some host refuses."""
    return int(tx.value(_COUNT) or 0)


_REASONS = (
    sa.select(group_refusals.c.security_group_id, group_refusals.c.reason)
    .where(group_refusals.c.security_group_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(group_refusals.c.host.desc())
)
_COUNT = sa.select(sa.func.count(sa.distinct(group_refusals.c.security_group_id)))
