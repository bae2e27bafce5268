"""Who may call what: five rules, named in the route tables of the APIs, one for each route.

They follow OpenStack's default roles (admin implies member implies reader). That things of other projects do not exist
for a caller is not decided here but where rows are selected.
"""

from collections.abc import Callable

from polyport.context import Context
from polyport.errors import Forbidden

Rule = Callable[[Context], bool]


class PolicyNotAuthorized(Forbidden):
    """Policy doesn't allow {action} to be performed."""


def anyone(context: Context) -> bool:
    """No token is needed: version documents and the way to a token. The one rule that is asked without a caller."""
    return True


def token(context: Context) -> bool:
    """Any valid token, with or without a project."""
    return True


def reader(context: Context) -> bool:
    return bool(context.project_id) and not context.roles.isdisjoint(("reader", "member", "admin"))


def member(context: Context) -> bool:
    return bool(context.project_id) and not context.roles.isdisjoint(("member", "admin"))


def admin(context: Context) -> bool:
    return "admin" in context.roles
