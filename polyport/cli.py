"""The verbs of the command line: up, down, check, capture."""

import asyncio
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import click
import msgspec

from polyport import __version__, cloud
from polyport.client import BrokenOff, Client, Stream
from polyport.clouds import find_access
from polyport.config import Config, read_config
from polyport.errors import PolyportError, Unavailable
from polyport.web.server import server_for


class CannotListen(Unavailable):
    """The address {address} cannot be listened on: {reason}"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A small OpenStack-compatible cloud for network functions."""


@main.command()
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="Configuration (TOML).")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory.")
@click.option("--listen", metavar="HOST:PORT", help="Where the APIs are served.")
@click.option("--fake", is_flag=True, help="No guests and no frames: the fake hypervisor and dataplane.")
@click.option("--clouds", type=click.Path(dir_okay=False, path_type=Path), help="Where clouds.yaml is written.")
@click.option("--verbose", is_flag=True, help="Log what is done, not only what went wrong.")
def up(
    path: Path | None, state: Path | None, listen: str | None, fake: bool, clouds: Path | None, verbose: bool
) -> None:
    """Start the cloud and stay. Guests keep running when it is stopped, and are found again at the next start."""
    _log(verbose)
    # The event loop and the database's threads hand over to each other all the time; a thread that computes shall not
    # hold the others up for the interpreter's usual 5 ms.
    sys.setswitchinterval(0.0005)
    try:
        asyncio.run(_serve(_configured(path, state, listen, fake), clouds))
    except PolyportError as error:
        raise click.ClickException(error.message) from error


@main.command()
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="Configuration (TOML).")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory.")
def down(path: Path | None, state: Path | None) -> None:
    """Stop every guest of a cloud that is not running, and take its bridges away. Servers stay in the database."""
    _log(False)
    stopped, removed = asyncio.run(_take_down(_configured(path, state, None, False)))
    click.echo(f"stopped {stopped} guests, removed {removed} devices")


@main.command()
def check() -> None:
    """Say what this machine can do for polyport: what is missing, and which accelerator guests would get."""
    from polyport import check as checks

    problems = checks.report(click.echo)
    if problems:
        raise SystemExit(1)


@main.command()
@click.argument("port")
@click.option("--os-cloud", metavar="NAME", help="The cloud in clouds.yaml; also OS_CLOUD.")
@click.option("--seconds", type=click.IntRange(1), help="End after so long.")
@click.option("--bytes", type=click.IntRange(1), help="End before the stream is longer than this.")
@click.option("--packets", type=click.IntRange(1), help="End after so many frames.")
@click.option("--snaplen", type=click.IntRange(1), help="Keep so many octets of each frame.")
@click.option("--direction", type=click.Choice(["ingress", "egress"]), help="To the guest only, or from it.")
def capture(port: str, os_cloud: str | None, **bounds: int | str | None) -> None:
    """Write the frames of PORT (its name or id) to standard output as pcap, for `| wireshark -k -i -` or
    `| tcpdump -nr -`.

    This is a client: it finds the cloud as other OpenStack clients do, in clouds.yaml or OS_* variables.
    """
    if sys.stdout.isatty():
        raise click.UsageError("A terminal cannot show pcap; add | tcpdump -nr -, | wireshark -k -i - or > FILE")
    try:
        client = Client(find_access(os_cloud, os.environ))
        asked = {name: value for name, value in bounds.items() if value is not None}
        with client.capture(client.port_id(port), asked) as stream:
            _pass_on(stream, sys.stdout.fileno())
    except PolyportError as error:
        raise click.ClickException(error.message) from error
    except KeyboardInterrupt:
        # That is how one ends it.
        return


def _pass_on(stream: Stream, out: int) -> None:
    """Write what comes, to its end or until nobody reads it."""
    unread = threading.Event()

    def watch() -> None:
        """Where no frame comes, a pipe that is closed is noticed by nothing else."""
        poll = select.poll()
        poll.register(out, 0)
        poll.poll()
        unread.set()
        stream.stop()

    threading.Thread(target=watch, daemon=True).start()
    try:
        while part := stream.read():
            while part:
                part = part[os.write(out, part) :]
    except BrokenPipeError:
        return
    except BrokenOff:
        if not unread.is_set():
            raise


def _configured(path: Path | None, state: Path | None, listen: str | None, fake: bool) -> Config:
    config = read_config(path) if path else Config()
    if state is not None:
        config = msgspec.structs.replace(config, state=state.absolute())
    if listen is not None:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise click.BadParameter("HOST:PORT is wanted", param_hint="--listen")
        config = msgspec.structs.replace(config, api=msgspec.structs.replace(config.api, host=host, port=int(port)))
    if fake:
        config = msgspec.structs.replace(
            config,
            hypervisor=msgspec.structs.replace(config.hypervisor, driver="fake"),
            dataplane=msgspec.structs.replace(config.dataplane, driver="fake"),
        )
    return config


async def _serve(config: Config, clouds: Path | None) -> None:
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
    url = config.api.public_url or f"http://{config.api.host}:{config.api.port}"
    own = config.state / "clouds.yaml"
    if password is not None:
        _write_clouds(own, config, url, password)
    if clouds is not None and own.exists():
        _write_private(clouds, own.read_text())
    click.echo(f"polyport {__version__} serves {url}/identity  (region {config.region})")
    click.echo(f"credentials: {clouds or own}   try: openstack --os-cloud polyport server list")


def _write_clouds(path: Path, config: Config, url: str, password: str) -> None:
    auth = {
        "auth_url": f"{url}/identity",
        "username": "admin",
        "password": password,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    document = {"clouds": {"polyport": {"auth": auth, "region_name": config.region, "identity_api_version": 3}}}
    # JSON is YAML, and needs no library to be quoted right.
    _write_private(path, json.dumps(document, indent=2) + "\n")


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123 - it is open already
        file.write(text)


async def _take_down(config: Config) -> tuple[int, int]:
    with cloud.state_of(config.state):
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


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
    )
    logging.Formatter.converter = time.gmtime
