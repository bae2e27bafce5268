"""The tables, one module for each service. Constraints that must hold stand here, not only in code."""

from polyport.db.tables import compute, identity, image, network, quota
from polyport.db.tables.metadata import metadata

__all__ = ["compute", "identity", "image", "metadata", "network", "quota"]
