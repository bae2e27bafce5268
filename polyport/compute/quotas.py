"""The compute service's part of a project's quotas: changing limits with regard to what is in use."""

from collections.abc import Mapping

from polyport import quotas
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.ids import ProjectId


class LimitBelowUsage(Invalid):
    """Quota limit {limit} for {resource} must be greater than or equal to already used and reserved {used}."""


def change_limits(tx: Tx, project_id: ProjectId, wanted: Mapping[str, int], *, force: bool) -> None:
    """Give a project limits of its own; -1 is no limit. Raises `LimitBelowUsage` unless `force`."""
    used = quotas.usage_of(tx, project_id)
    for resource, limit in wanted.items():
        if not force and 0 <= limit < used.get(resource, 0):
            raise LimitBelowUsage(limit=limit, resource=resource, used=used[resource])
    if wanted:
        quotas.set_limits(tx, project_id, wanted)
