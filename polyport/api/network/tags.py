"""`/v2.0/<collection>/{id}/tags`. Source: Neutron's API reference, "Standard attributes tag extension"."""

from typing import Annotated

from msgspec import Meta, Struct

from polyport.api.network.fields import Text
from polyport.db.engine import Tx
from polyport.network import tags
from polyport.network.tags import Tagged, TagNotFound
from polyport.policy import member, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import Route, delete, get, post, put


class Tags(Struct, forbid_unknown_fields=True):
    tags: Annotated[list[Text], Meta(max_length=tags.MOST_TAGS)]


class TagCalls:
    """The handlers for the tags of one collection."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def index(self, call: Call, tx: Tx) -> Reply:
        return Reply(body={"tags": tags.read_tags(tx, call.context, self._thing(call))})

    def check(self, call: Call, tx: Tx) -> Reply:
        if call.params["tag"] not in tags.read_tags(tx, call.context, self._thing(call)):
            raise TagNotFound(tag=call.params["tag"][:255])
        return Reply(status=204)

    def replace(self, call: Call, tx: Tx) -> Reply:
        return Reply(body={"tags": tags.set_tags(tx, call.context, self._thing(call), call.decode(Tags).tags)})

    def extend(self, call: Call, tx: Tx) -> Reply:
        return Reply(body={"tags": tags.add_tags(tx, call.context, self._thing(call), call.decode(Tags).tags)})

    def add(self, call: Call, tx: Tx) -> Reply:
        tags.add_tags(tx, call.context, self._thing(call), [call.params["tag"]])
        return Reply(status=201)

    def clear(self, call: Call, tx: Tx) -> Reply:
        tags.set_tags(tx, call.context, self._thing(call), ())
        return Reply(status=204)

    def remove(self, call: Call, tx: Tx) -> Reply:
        tags.remove_tag(tx, call.context, self._thing(call), call.params["tag"])
        return Reply(status=204)

    def _thing(self, call: Call) -> Tagged:
        return Tagged(self._collection, call.params["id"])


def routes() -> list[Route]:
    """The same seven for each collection."""
    found = []
    for collection in tags.COLLECTIONS:
        calls, path = TagCalls(collection), f"/v2.0/{collection}/{{id}}/tags"
        found += [
            get(path, calls.index, reader),
            put(path, calls.replace, member),
            post(path, calls.extend, member),
            delete(path, calls.clear, member),
            get(path + "/{tag}", calls.check, reader),
            put(path + "/{tag}", calls.add, member),
            delete(path + "/{tag}", calls.remove, member),
        ]
    return found
