"""Tables of the identity service."""

import sqlalchemy as sa

from polyport.db.tables.metadata import metadata

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("extra", sa.JSON, nullable=False, default=dict),
    sa.Column("tags", sa.JSON, nullable=False, server_default="[]"),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("domain_id", sa.String(64), sa.ForeignKey("domains.id"), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("parent_id", sa.String(64), sa.ForeignKey("projects.id"), nullable=True, index=True),  # NULL: the domain
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("tags", sa.JSON, nullable=False, default=list),
    sa.Column("extra", sa.JSON, nullable=False, default=dict),
    sa.UniqueConstraint("domain_id", "name"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("domain_id", sa.String(64), sa.ForeignKey("domains.id"), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("password_hash", sa.String(255), nullable=True),
    sa.Column("default_project_id", sa.String(64), sa.ForeignKey("projects.id", ondelete="SET NULL"), nullable=True),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("options", sa.JSON, nullable=False, default=dict),
    sa.Column("extra", sa.JSON, nullable=False, default=dict),
    sa.UniqueConstraint("domain_id", "name"),
)

roles = sa.Table(
    "roles",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("extra", sa.JSON, nullable=False, default=dict),
)

assignments = sa.Table(
    "role_assignments",
    metadata,
    sa.Column("user_id", sa.String(64), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("target", sa.String(8), primary_key=True),  # project | domain | system
    sa.Column("target_id", sa.String(64), primary_key=True),
    sa.Column("role_id", sa.String(64), sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    sa.CheckConstraint("target IN ('project', 'domain', 'system')", name="target"),
)
sa.Index("ix_role_assignments_target", assignments.c.target, assignments.c.target_id)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),  # SHA-256 of the token; the token itself is stored nowhere
    sa.Column("user_id", sa.String(64), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True),
    sa.Column("domain_id", sa.String(64), sa.ForeignKey("domains.id", ondelete="CASCADE"), nullable=True),
    sa.Column("system", sa.Boolean, nullable=False, default=False),
    sa.Column("methods", sa.JSON, nullable=False),
    sa.Column("audit_id", sa.String(32), nullable=False),
    sa.Column("chain_id", sa.String(32), nullable=True),  # audit id of the token that began the chain of rescoping
    sa.Column("issued_at", sa.String(26), nullable=False),
    sa.Column("expires_at", sa.String(26), nullable=False, index=True),
)
