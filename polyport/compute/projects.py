"""Whether a project is there, for calls in which an administrator names one."""

import sqlalchemy as sa

from polyport.db.engine import Tx
from polyport.db.tables.identity import projects
from polyport.errors import Invalid
from polyport.ids import ProjectId


class NoSuchProject(Invalid):
    """Project ID {project_id} is not a valid project."""


def check_project(tx: Tx, project_id: str) -> ProjectId:
    """Raises `NoSuchProject`."""
    if tx.first(sa.select(projects.c.id).where(projects.c.id == project_id)) is None:
        raise NoSuchProject(project_id=project_id)
    return ProjectId(project_id)
