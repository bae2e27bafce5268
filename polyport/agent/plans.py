"""The sum of the plans an agent was sent. No I/O.

A plan holds what changed; the sum holds everything, and tells which servers a plan concerns: those it names
in a revision not known yet, those on a network that changed, and, where it is whole, those it does not name
any more. Security groups concern no server by themselves: they are handed to the dataplane, once each time they change.
"""

from collections import defaultdict

from polyport.ids import ImageId, NetworkId, SecurityGroupId, ServerId
from polyport.plan import HostPlan, NetworkPlan, SecurityGroupPlan, ServerPlan


class PlanSum:
    def __init__(self) -> None:
        self.revision = 0
        self.servers: dict[ServerId, ServerPlan] = {}
        self.networks: dict[NetworkId, NetworkPlan] = {}
        self.security_groups: dict[SecurityGroupId, SecurityGroupPlan] = {}
        self.news: dict[SecurityGroupId, SecurityGroupPlan] = {}
        """Groups the dataplane does not know yet as they are now."""
        self._on_network: defaultdict[NetworkId, set[ServerId]] = defaultdict(set)

    def add(self, plan: HostPlan) -> set[ServerId]:
        """Take in a plan; the servers there may now be something to do for."""
        concerned: set[ServerId] = set()
        self.add_groups(plan)
        for network in plan.networks:
            if self.networks.get(network.id) != network:
                self.networks[network.id] = network
                concerned |= self._on_network.get(network.id, set())
        if plan.whole:
            concerned |= self._drop_all_but({server.id for server in plan.servers})
        for server in plan.servers:
            known = self.servers.get(server.id)
            if known is None or known.revision != server.revision:
                self._put(server)
                concerned.add(server.id)
        if plan.whole:
            named = {network.id for network in plan.networks}
            self.networks = {each: network for each, network in self.networks.items() if each in named}
            groups = {group.id for group in plan.security_groups}
            self.security_groups = {each: group for each, group in self.security_groups.items() if each in groups}
            # One that was refused and then deleted is not to be tried for ever.
            self.news = {each: group for each, group in self.news.items() if each in groups}
        self.revision = plan.revision
        return concerned

    def add_groups(self, plan: HostPlan) -> None:
        """Take in the security groups of a plan, which no server has to wait for."""
        for group in plan.security_groups:
            if self.security_groups.get(group.id) != group:
                self.security_groups[group.id] = self.news[group.id] = group

    def forget(self, server_id: ServerId) -> None:
        """Drop a server that is gone."""
        server = self.servers.pop(server_id, None)
        if server is not None:
            self._leave_networks(server)

    def images(self) -> set[ImageId]:
        """The images that servers need."""
        return {
            image.id
            for server in self.servers.values()
            for image in (server.image, server.kernel, server.ramdisk)
            if image is not None
        }

    def _drop_all_but(self, named: set[ServerId]) -> set[ServerId]:
        dropped = self.servers.keys() - named
        for server_id in dropped:
            self.forget(server_id)
        return dropped

    def _put(self, server: ServerPlan) -> None:
        known = self.servers.get(server.id)
        if known is not None:
            self._leave_networks(known)
        self.servers[server.id] = server
        for nic in server.nics:
            self._on_network[nic.network_id].add(server.id)

    def _leave_networks(self, server: ServerPlan) -> None:
        for nic in server.nics:
            on_network = self._on_network[nic.network_id]
            on_network.discard(server.id)
            if not on_network:
                del self._on_network[nic.network_id]
