"""Networks, subnets, ports, security groups: what a port is and which addresses it has. Knows nothing of servers."""

from polyport.errors import Invalid


class InvalidInput(Invalid):
    """Invalid input for operation: {reason}."""
