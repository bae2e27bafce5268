"""The metadata a user gives a server: names and values, read by the guest."""

from collections.abc import Mapping

from polyport import quotas
from polyport.compute import boot, servers, states
from polyport.compute.servers import Server
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.ids import ProjectId


class MetadataItemNotFound(NotFound):
    """Metadata item was not found"""


def item_of(server: Server, name: str) -> str:
    """One value. Raises `MetadataItemNotFound`."""
    found = server.metadata_items()
    if name not in found:
        raise MetadataItemNotFound
    return found[name]


def replace_metadata(tx: Tx, context: Context, server: Server, items: Mapping[str, str]) -> dict[str, str]:
    """Give a server these items and no others. Raises `InvalidState`, `ServerLocked`, `TooMuchMetadata`."""
    _write(tx, context, server, dict(items), "update_instance_metadata")
    return dict(items)


def add_metadata(tx: Tx, context: Context, server: Server, items: Mapping[str, str]) -> dict[str, str]:
    """Add items, or change those of the same name; the outcome."""
    whole = {**server.metadata_items(), **items}
    _write(tx, context, server, whole, "update_instance_metadata")
    return whole


def remove_item(tx: Tx, context: Context, server: Server, name: str) -> None:
    """Raises `MetadataItemNotFound`."""
    item_of(server, name)
    left = server.metadata_items()
    del left[name]
    _write(tx, context, server, left, "delete_instance_metadata")


def _write(tx: Tx, context: Context, server: Server, items: dict[str, str], action: str) -> None:
    servers.check_lock(context, server)
    states.check(action, server.id, server.state)
    boot.check_metadata(quotas.limits_of(tx, ProjectId(server.project_id)), items)
    servers.write_server(tx, server.id, {"metadata": items, "plan_revision": tx.revision()})
    tx.wake(server.host)
