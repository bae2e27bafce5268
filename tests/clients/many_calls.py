"""Many calls of `openstack` in one process: to load the client takes many times what a call does.

Each line of the input is the words of a call, as JSON; each line of the output is what came of it: (status, what was
printed, what was complained of).
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from openstackclient import shell


def main() -> None:
    for line in sys.stdin:
        said, complained = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(complained):
            status = shell.main(json.loads(line))
        print(json.dumps((status, said.getvalue(), complained.getvalue())), flush=True)


if __name__ == "__main__":
    main()
