"""Two clouds on one machine: the second does not take what the first has in its namespace for leftovers."""

from pathlib import Path

import pytest

from polyport.cloud import running
from polyport.config import Config, DataplaneConfig, HypervisorConfig
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.namespace import NamespaceInUse, NamespaceThread, alone_in
from polyport.process import take_down
from tests.host.conftest import Cable
from tests.host.plans import network, vif

pytestmark = pytest.mark.host


async def test_what_a_cloud_has_plugged_is_no_leftover_to_another(
    dataplane: BridgeDataplane, cable: Cable, config: DataplaneConfig, tmp_path: Path
) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    other = Config(state=tmp_path, hypervisor=HypervisorConfig(driver="fake"), dataplane=config)
    async with alone_in(config.namespace):
        with pytest.raises(NamespaceInUse, match=config.namespace):
            await take_down(other)
        with pytest.raises(NamespaceInUse, match=r"dataplane\.namespace"):
            async with running(other):
                pass
        me.send(me.ping(you))
        assert you.received() == [me.ping(you)]
    assert await take_down(other) == (0, 3), "two taps and a bridge, once nobody has them"


async def test_a_namespace_is_free_again_when_its_cloud_ends(namespace: str) -> None:
    for _ in range(2):
        async with alone_in(namespace):
            # Whoever looks around in there is no cloud.
            thread = NamespaceThread(namespace)
            await thread.open()
            await thread.close()
