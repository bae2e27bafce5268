"""`python -m bench [fake] [real] [frames]`: without words, all of it. Ends with status 1 where a target is missed."""

import sys

from bench import fake_host, frames, real_host
from bench.table import Row, show
from demo.scratch import ScratchCloud


def main() -> int:
    wanted = sys.argv[1:] or ["fake", "real", "frames"]
    rows: list[Row] = []
    if "fake" in wanted:
        with ScratchCloud(hypervisor="fake", dataplane="fake", more="[limits]\ninstances = -1\n") as cloud:
            rows += fake_host.run(cloud)
    if "real" in wanted:
        rows += real_host.plugs()
        with ScratchCloud() as cloud:
            rows += real_host.guest_start(cloud)
    if "frames" in wanted:
        rows += frames.run()
    show(rows)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
