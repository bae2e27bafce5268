"""`/limits`: what a project may have and has. There are no rate limits."""

from polyport import quotas
from polyport.api.compute.fields import check_query
from polyport.api.compute.microversions import NO_FILE_QUOTAS, NO_IMAGE_METADATA_LIMIT, NO_NETWORK_QUOTAS
from polyport.db.engine import Tx
from polyport.ids import ProjectId
from polyport.policy import PolicyNotAuthorized, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get

_MOST = {
    "maxTotalInstances": "instances",
    "maxTotalCores": "cores",
    "maxTotalRAMSize": "ram",
    "maxServerMeta": "metadata_items",
    "maxTotalKeypairs": "key_pairs",
    "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members",
}
_USED = {
    "totalInstancesUsed": "instances",
    "totalCoresUsed": "cores",
    "totalRAMUsed": "ram",
    "totalServerGroupsUsed": "server_groups",
}
_MOST_OF_NETWORKS = {
    "maxTotalFloatingIps": "floatingip",
    "maxSecurityGroups": "security_group",
    "maxSecurityGroupRules": "security_group_rule",
}
_USED_OF_NETWORKS = {"totalFloatingIpsUsed": "floatingip", "totalSecurityGroupsUsed": "security_group"}


def show(call: Call, tx: Tx) -> Reply:
    check_query(call, ("reserved", "tenant_id"))
    project_id = ProjectId(call.query.get("tenant_id") or call.context.project_id)
    if project_id != call.context.project_id and not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:limits:other_project")
    most, used = quotas.limits_of(tx, project_id), quotas.usage_of(tx, project_id)
    view = {name: most.get(resource, quotas.UNLIMITED) for name, resource in _MOST.items()}
    view |= {name: used.get(resource, 0) for name, resource in _USED.items()}
    if call.version not in NO_NETWORK_QUOTAS:
        view |= {name: most.get(resource, quotas.UNLIMITED) for name, resource in _MOST_OF_NETWORKS.items()}
        view |= {name: used.get(resource, 0) for name, resource in _USED_OF_NETWORKS.items()}
    if call.version not in NO_IMAGE_METADATA_LIMIT:
        view["maxImageMeta"] = view["maxServerMeta"]
    if call.version not in NO_FILE_QUOTAS:
        view["maxPersonality"] = most.get("injected_files", quotas.UNLIMITED)
        view["maxPersonalitySize"] = most.get("injected_file_content_bytes", quotas.UNLIMITED)
    return Reply(body={"limits": {"rate": [], "absolute": view}})


ROUTES = (get("/limits", show, reader),)
