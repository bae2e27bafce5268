"""The compute engine: servers and their NICs, flavors, key pairs, and what hosts are told of them."""
