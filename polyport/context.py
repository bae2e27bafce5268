"""Who is calling. Made from a token at the edge, then passed as an argument to everything that acts for the caller."""

from msgspec import Struct

from polyport.ids import ProjectId, UserId


class Context(Struct, frozen=True, kw_only=True):
    """The caller of one request. A token without a project has an empty `project_id`."""

    user_id: UserId
    user_name: str
    user_domain_id: str = "default"
    project_id: ProjectId = ProjectId("")
    project_name: str = ""
    project_domain_id: str = "default"
    roles: frozenset[str] = frozenset()
    token: str = ""
    """The digest under which the token is stored, never the token itself."""
    request_id: str = ""

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles
