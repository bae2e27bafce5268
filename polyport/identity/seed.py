"""What a cloud begins with: the default domain, the roles policies are written for, and an administrator."""

from polyport.db.engine import Tx
from polyport.identity.assignments import SYSTEM, assign
from polyport.identity.domains import DEFAULT, DomainNotFound, create_domain, get_domain
from polyport.identity.projects import create_project
from polyport.identity.roles import BUILT_IN, create_role
from polyport.identity.users import create_user

ADMIN = "admin"


def is_fresh(tx: Tx) -> bool:
    """Whether nothing was seeded yet. The default domain tells it, which cannot be deleted: an administrator who was
    renamed or deleted shall not come back with the password of the beginning."""
    try:
        get_domain(tx, DEFAULT)
    except DomainNotFound:
        return True
    return False


def seed(tx: Tx, admin_password_hash: str) -> None:
    """Fill a fresh database."""
    create_domain(tx, "Default", id=DEFAULT, description="The default domain")
    roles = {name: create_role(tx, name) for name in BUILT_IN}
    project = create_project(tx, ADMIN, description="Project of the administrator")
    user = create_user(tx, ADMIN, password_hash=admin_password_hash)
    assign(tx, user.id, "project", project.id, roles[ADMIN].id)
    assign(tx, user.id, "system", SYSTEM, roles[ADMIN].id)
