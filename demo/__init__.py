"""The demonstration: a real guest with several NICs on one network, driven by an OpenStack client, with proofs."""
