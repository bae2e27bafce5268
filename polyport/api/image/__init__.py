"""The image API, version 2 (Glance's)."""

from pathlib import Path

from polyport.api.image import images, members, schemas, versions
from polyport.api.image.dialect import ImageDialect
from polyport.api.image.files import Files
from polyport.api.image.images import Bin
from polyport.image.store import Store
from polyport.policy import anyone, member, reader
from polyport.web.routes import Route, Service, delete, get, own, patch, post, put

__all__ = ["service"]

_MOST_BYTES = 2**40


def service(images_directory: Path, most_bytes: int = _MOST_BYTES) -> Service:
    """The service for a cloud whose image files are in a directory; a file has at most so many bytes."""
    store = Store(images_directory)
    return Service(
        name="image",
        prefixes=("/image",),
        dialect=ImageDialect(),
        routes=_routes(Files(store, most_bytes), Bin(store)),
    )


def _routes(files: Files, bin: Bin) -> list[Route]:
    return [
        get("/", versions.list_versions, anyone),
        get("/versions", versions.get_versions, anyone),
        get("/v2/info/import", versions.get_import_methods, reader),
        get("/v2/schemas/image", schemas.image, reader),
        get("/v2/schemas/images", schemas.images, reader),
        get("/v2/schemas/member", schemas.member, reader),
        get("/v2/schemas/members", schemas.members, reader),
        get("/v2/images", images.index, reader),
        post("/v2/images", images.create, member),
        delete("/v2/images", images.delete_nothing, member),
        get("/v2/images/{id}", images.show, reader),
        patch("/v2/images/{id}", images.update, member),
        own("DELETE", "/v2/images/{id}", bin.delete, member),
        own("PUT", "/v2/images/{id}/file", files.upload, member, streamed=True),
        own("GET", "/v2/images/{id}/file", files.download, reader),
        post("/v2/images/{id}/actions/deactivate", images.deactivate, member),
        post("/v2/images/{id}/actions/reactivate", images.reactivate, member),
        put("/v2/images/{id}/tags/{tag}", images.add_tag, member),
        delete("/v2/images/{id}/tags/{tag}", images.remove_tag, member),
        get("/v2/images/{id}/members", members.index, reader),
        post("/v2/images/{id}/members", members.add, member),
        get("/v2/images/{id}/members/{member_id}", members.show, reader),
        put("/v2/images/{id}/members/{member_id}", members.answer, member),
        delete("/v2/images/{id}/members/{member_id}", members.remove, member),
    ]
