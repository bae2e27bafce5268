"""What a cloud begins with, and what it can always be given back: the default domain, the roles policies are written
for, and an administrator."""

from polyport.db.engine import Tx
from polyport.identity.assignments import SYSTEM, assign
from polyport.identity.domains import DEFAULT, DomainChange, DomainNotFound, create_domain, get_domain, update_domain
from polyport.identity.projects import ProjectChange, create_project, find_project, update_project
from polyport.identity.roles import BUILT_IN, create_role, find_role
from polyport.identity.users import UserChange, create_user, find_user, update_user

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
    for name in BUILT_IN:
        create_role(tx, name)
    restore_admin(tx, admin_password_hash)


def restore_admin(tx: Tx, password_hash: str) -> None:
    """Let the user `admin` in as administrator of the project `admin` and of the system, with this password, whatever
    became of them in the meantime. Tokens the user had are gone."""
    update_domain(tx, DEFAULT, DomainChange(enabled=True))
    project = find_project(tx, ADMIN) or create_project(tx, ADMIN, description="Project of the administrator")
    update_project(tx, project.id, ProjectChange(enabled=True))
    user = find_user(tx, ADMIN) or create_user(tx, ADMIN)
    update_user(tx, user.id, UserChange(enabled=True, password_hash=password_hash))
    role = find_role(tx, ADMIN)
    assign(tx, user.id, "project", project.id, role.id)
    assign(tx, user.id, "system", SYSTEM, role.id)
