"""Tables of the image service."""

import sqlalchemy as sa

from polyport.db.tables.metadata import metadata

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=True, index=True),
    sa.Column("status", sa.String(16), nullable=False),  # queued | saving | active | deactivated | killed
    sa.Column("visibility", sa.String(10), nullable=False),  # public | private | shared | community
    sa.Column("protected", sa.Boolean, nullable=False, default=False),
    sa.Column("hidden", sa.Boolean, nullable=False, default=False),
    sa.Column("container_format", sa.String(20), nullable=True),
    sa.Column("disk_format", sa.String(20), nullable=True),
    sa.Column("file_format", sa.String(8), nullable=True),  # what the bytes were found to be: qcow2 | raw
    sa.Column("size", sa.BigInteger, nullable=True),
    sa.Column("virtual_size", sa.BigInteger, nullable=True),
    sa.Column("checksum", sa.String(32), nullable=True),
    sa.Column("os_hash_algo", sa.String(16), nullable=True),
    sa.Column("os_hash_value", sa.String(128), nullable=True),
    sa.Column("min_disk", sa.Integer, nullable=False, default=0),
    sa.Column("min_ram", sa.Integer, nullable=False, default=0),
    sa.Column("properties", sa.JSON, nullable=False, default=dict),
    sa.Column("tags", sa.JSON, nullable=False, default=list),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
)

members = sa.Table(
    "image_members",
    metadata,
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("member_id", sa.String(64), primary_key=True),
    sa.Column("status", sa.String(10), nullable=False, default="pending"),
    sa.Column("created_at", sa.String(26), nullable=False),
    sa.Column("updated_at", sa.String(26), nullable=False),
)

deleted = sa.Table(
    "deleted_images",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
)
"""Ids that were taken once: hosts may still have the bytes, so an id never comes back with others."""
