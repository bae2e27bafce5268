"""`/servers/{id}/tags`"""

from typing import Annotated, TypeAlias
from urllib.parse import quote

from msgspec import Meta, Struct

from polyport.api.compute.microversions import SERVER_TAGS, during
from polyport.api.compute.server_bodies import MOST_TAGS, Tag
from polyport.api.compute.servers import the_server
from polyport.compute import servers, states
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.policy import member, reader
from polyport.web.bodies import convert
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, put

Tags: TypeAlias = Annotated[list[Tag], Meta(max_length=MOST_TAGS)]


class TagNotFound(NotFound):
    """Server {server_id} has no tag '{tag}'"""


class TooManyTags(Invalid):
    """The number of tags exceeded the per-server limit {most}"""


class ReplaceTags(Struct, forbid_unknown_fields=True, kw_only=True):
    tags: Tags


def list_tags(call: Call, tx: Tx) -> Reply:
    return Reply(body={"tags": the_server(call, tx).tag_list()})


def check(call: Call, tx: Tx) -> Reply:
    _having(call, the_server(call, tx))
    return Reply(status=204)


def replace_all(call: Call, tx: Tx) -> Reply:
    tags = list(dict.fromkeys(call.decode(ReplaceTags).tags))
    _write(tx, the_server(call, tx), tags)
    return Reply(body={"tags": tags})


def add(call: Call, tx: Tx) -> Reply:
    tag = convert(call.params["tag"], Tag, "tag")
    server = the_server(call, tx)
    tags = server.tag_list()
    if tag in tags:
        return Reply(status=204)
    if len(tags) >= MOST_TAGS:
        raise TooManyTags(most=MOST_TAGS)
    _write(tx, server, [*tags, tag])
    place = f"{call.base_url}/v2.1/servers/{server.id}/tags/{quote(tag, safe='')}"
    return Reply(status=201, headers={"location": place})


def remove(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    _having(call, server)
    _write(tx, server, [tag for tag in server.tag_list() if tag != call.params["tag"]])
    return Reply(status=204)


def remove_all(call: Call, tx: Tx) -> Reply:
    _write(tx, the_server(call, tx), [])
    return Reply(status=204)


def _having(call: Call, server: Server) -> None:
    if call.params["tag"] not in server.tag_list():
        raise TagNotFound(server_id=server.id, tag=call.params["tag"])


def _write(tx: Tx, server: Server, tags: list[str]) -> None:
    if server.vm_state not in states.SETTLED:
        raise states.InvalidState(
            action="update tags", server_id=server.id, attribute="vm_state", state=server.vm_state
        )
    servers.write_server(tx, server.id, {"tags": tags}, touch=False)


ROUTES = tuple(
    during(SERVER_TAGS, route)
    for route in (
        get("/servers/{server_id}/tags", list_tags, reader),
        put("/servers/{server_id}/tags", replace_all, member),
        delete("/servers/{server_id}/tags", remove_all, member),
        get("/servers/{server_id}/tags/{tag}", check, reader),
        put("/servers/{server_id}/tags/{tag}", add, member),
        delete("/servers/{server_id}/tags/{tag}", remove, member),
    )
)
