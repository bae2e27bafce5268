"""What a server takes from its image at boot: checked once, then kept with the server, so that the image may change."""

import functools
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from polyport.compute.flavors import Flavor
from polyport.compute.nics import MOST_SLOTS
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.image import images
from polyport.plan import ImagePlan

GIB = 1 << 30


class ImageMissing(Invalid):
    """Can not find requested image"""


class ImageNotActive(Invalid):
    """Image {image_id} is not active."""


class ImageNotBootable(Invalid):
    """Image {image_id} is unacceptable: {reason}"""


class FlavorMemoryTooSmall(Invalid):
    """Flavor's memory is too small for requested image."""


class FlavorDiskTooSmall(Invalid):
    """Flavor's disk is too small for requested image. Flavor disk is {flavor_size} bytes, minimum size is {image_size}
    bytes."""


class ImagePropertyInvalid(Invalid):
    """Invalid image property {name}: {value} is not {what}."""


class BootImage(Struct, frozen=True, kw_only=True):
    """An image as it was when a server was made of it."""

    image: ImagePlan
    kernel: ImagePlan | None = None
    ramdisk: ImagePlan | None = None
    kernel_arguments: str = ""
    nic_slots: int | None = None
    """What the image asks for in `polyport_nic_slots`."""
    properties: Mapping[str, str] = {}


@functools.lru_cache(512)
def image_of(text: str | None) -> BootImage | None:
    """A server's image as the database keeps it; many servers share a few."""
    return None if text is None else msgspec.json.decode(text, type=BootImage)


def boot_image(tx: Tx, context: Context, image_id: str, flavor: Flavor) -> BootImage:
    """The image a server of this flavor would boot from. Raises errors that say what is wrong with it."""
    image = _active(tx, context, image_id, ImageMissing())
    if image.file_format is None or image.disk_format in ("aki", "ari"):
        raise ImageNotBootable(
            image_id=image.id, reason=f"its disk format {image.disk_format} is not one to boot from."
        )
    if image.min_ram > flavor.ram:
        raise FlavorMemoryTooSmall
    needed = max(image.min_disk * GIB, image.virtual_size or image.size or 0)
    if flavor.disk and needed > flavor.disk * GIB:
        raise FlavorDiskTooSmall(flavor_size=flavor.disk * GIB, image_size=needed)
    properties = {name: str(value) for name, value in image.properties.items()}
    return BootImage(
        image=_plan(image),
        kernel=_part(tx, context, properties.get("kernel_id"), "Kernel"),
        ramdisk=_part(tx, context, properties.get("ramdisk_id"), "Ramdisk"),
        kernel_arguments=properties.get("os_command_line", ""),
        nic_slots=_slots(properties.get("polyport_nic_slots")),
        properties=properties,
    )


def _active(tx: Tx, context: Context, image_id: str, missing: Invalid) -> images.Image:
    try:
        image = images.get_image(tx, context, image_id)
    except NotFound as error:
        raise missing from error
    if image.status != "active":
        raise ImageNotActive(image_id=image.id)
    return image


def _part(tx: Tx, context: Context, image_id: str | None, noun: str) -> ImagePlan | None:
    """A kernel or ramdisk that an image names."""
    if not image_id or image_id == "nokernel":
        return None
    return _plan(_active(tx, context, image_id, Invalid(f"{noun} image {image_id[:100]} could not be found.")))


def _plan(image: images.Image) -> ImagePlan:
    return ImagePlan(id=image.id, file_format="qcow2" if image.file_format == "qcow2" else "raw", size=image.size or 0)


def _slots(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 3 or not 1 <= int(text) <= MOST_SLOTS:
        what = f"an integer from 1 to {MOST_SLOTS}"
        raise ImagePropertyInvalid(name="polyport_nic_slots", value=text[:50], what=what)
    return int(text)
