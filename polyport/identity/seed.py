"""What a cloud begins with: the default domain, the roles policies are written for, and an administrator."""

from polyport.db.engine import Tx
from polyport.identity.assignments import SYSTEM, assign
from polyport.identity.domains import DEFAULT, DomainNotFound, create_domain, get_domain
from polyport.identity.projects import create_project, find_project
from polyport.identity.roles import BUILT_IN, create_role, list_roles
from polyport.identity.users import create_user, find_user

ADMIN = "admin"


def is_fresh(tx: Tx) -> bool:
    """Whether there is no administrator yet, so that `seed` will make one."""
    return find_user(tx, ADMIN) is None


def seed(tx: Tx, admin_password_hash: str) -> None:
    """Make what is not there yet; idempotent. The password counts only where the user `admin` is made."""
    try:
        get_domain(tx, DEFAULT)
    except DomainNotFound:
        create_domain(tx, "Default", id=DEFAULT, description="The default domain")
    have = {role.name: role for role in list_roles(tx)}
    for name in BUILT_IN:
        if name not in have:
            have[name] = create_role(tx, name)
    project = find_project(tx, ADMIN) or create_project(tx, ADMIN, description="Project of the administrator")
    user = find_user(tx, ADMIN)
    if user is None:
        user = create_user(tx, ADMIN, password_hash=admin_password_hash)
        assign(tx, user.id, "project", project.id, have[ADMIN].id)
        assign(tx, user.id, "system", SYSTEM, have[ADMIN].id)
