"""A cloud as a process of its own: served until somebody asks it to stop, and taken down."""

import asyncio
import gc
import json
import os
import signal
import socket
from pathlib import Path

import click

from polyport import __version__, cloud
from polyport.config import Config
from polyport.errors import Conflict, Unavailable
from polyport.web.server import server_for


class CannotListen(Unavailable):
    """The address {address} cannot be listened on: {reason}"""


class CloudsKept(Conflict):
    """The file {path} is not written: {reason}"""


async def serve(config: Config, clouds: Path | None) -> None:
    """Run a cloud until SIGINT or SIGTERM; `clouds`: where `clouds.yaml` is written besides. Raises `CannotListen`,
    `CloudsKept`, and what `cloud.running` raises."""
    if clouds is not None:
        _check_clouds(clouds)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with _listening(config.api.host, config.api.port) as listener:
        async with cloud.running(config) as running:
            server = server_for(running.app, config.api.host, config.api.port)
            serving = asyncio.create_task(server.serve([listener]), name="server")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            try:
                # What is there now stays; a large list shall not be looked through again and again while it is made.
                gc.freeze()
                gc.set_threshold(100_000, 50, 50)
                _announce(config, running.password, clouds)
                await asyncio.wait({serving, stopping, running.agent}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                server.should_exit = True
                await serving
    click.echo("stopped; guests keep running")


def _listening(host: str, port: int) -> socket.socket:
    """The socket clients reach; made before anything else is started, so that a mistake costs nothing."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise CannotListen(address=f"{host}:{port}", reason=error.strerror or error) from error
    # Connections have it from here. The event loop sets it only where it made the socket itself; without it the second
    # half of an answer waits 40 ms for the client's acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _announce(config: Config, password: str | None, clouds: Path | None) -> None:
    url = _url(config)
    own = config.state / "clouds.yaml"
    if password is not None:
        _write_clouds(own, config, password)
    elif own.exists():
        _redirect(own, config)
    if clouds is not None and own.exists():
        _write_private(clouds, own.read_text())
    click.echo(f"polyport {__version__} serves {url}/identity  (region {config.region})")
    click.echo(f"credentials: {clouds or own}   try: openstack --os-cloud polyport server list")


async def restore_admin(config: Config) -> Path:
    """Give the administrator of a cloud that is not running a new password; the `clouds.yaml` that has it."""
    password = await cloud.restore_admin(config)
    path = config.state / "clouds.yaml"
    _write_clouds(path, config, password)
    return path


def _url(config: Config) -> str:
    host = f"[{config.api.host}]" if ":" in config.api.host else config.api.host
    return config.api.public_url or f"http://{host}:{config.api.port}"


def _check_clouds(path: Path) -> None:
    """Whether `clouds.yaml` may be written here, before anything is started. A file with other clouds in it may be the
    only place that has their credentials. Raises `CloudsKept`."""
    if not path.parent.is_dir():
        raise CloudsKept(path=path, reason=f"there is no directory {path.parent}.")
    try:
        text = path.read_text()
        if text.strip() and not json.loads(text).get("clouds", {}).keys() <= {"polyport"}:
            raise CloudsKept(path=path, reason="there are other clouds in it.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise CloudsKept(path=path, reason=f"{error.strerror}.") from error
    except (ValueError, AttributeError) as error:
        raise CloudsKept(path=path, reason="it was made by somebody else.") from error


def _redirect(path: Path, config: Config) -> None:
    """Where the cloud is may be another place than at its first start; who one is there stays. A file that somebody
    has made into something else is left as it is."""
    text = path.read_text()
    try:
        document = json.loads(text)
        document["clouds"]["polyport"]["auth"]["auth_url"] = f"{_url(config)}/identity"
    except (ValueError, LookupError, TypeError):
        return
    changed = _text(document)
    if changed != text:
        _write_private(path, changed)


def _write_clouds(path: Path, config: Config, password: str) -> None:
    auth = {
        "auth_url": f"{_url(config)}/identity",
        "username": "admin",
        "password": password,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    document = {"clouds": {"polyport": {"auth": auth, "region_name": config.region, "identity_api_version": 3}}}
    _write_private(path, _text(document))


def _text(document: object) -> str:
    """JSON is YAML, and needs no library to be quoted right."""
    return json.dumps(document, indent=2) + "\n"


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123 - it is open already
        os.fchmod(descriptor, 0o600)  # a file that was there before keeps its mode
        file.write(text)


async def take_down(config: Config) -> tuple[int, int]:
    """Stop all guests of a cloud that is not running; how many, and how many devices went. Raises what `cloud.alone`
    raises."""
    async with cloud.alone(config):
        hypervisor, dataplane = cloud.drivers(config)
        await hypervisor.open(lambda server_id: None)
        await dataplane.open()
        try:
            guests = await hypervisor.guests()
            for server_id in guests:
                await hypervisor.stop(server_id, grace=5.0)
            removed = await dataplane.sweep({})
        finally:
            await dataplane.close()
            await hypervisor.close()
    return len(guests), len(removed)
