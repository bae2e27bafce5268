"""The verbs of the command line: up, down, admin, check, capture, counters."""

import asyncio
import logging
import os
import select
import sys
import threading
import time
from pathlib import Path

import click
import msgspec

from polyport import __version__
from polyport.client import BrokenOff, Client, Stream
from polyport.clouds import find_access
from polyport.config import Config, read_config
from polyport.errors import PolyportError


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
    # Here and not above: verbs that are only clients start in a fraction of the time that the cloud's modules take.
    from polyport.process import serve

    _log(verbose)
    # The event loop and the database's threads hand over to each other all the time; a thread that computes shall not
    # hold the others up for the interpreter's usual 5 ms.
    sys.setswitchinterval(0.0005)
    try:
        asyncio.run(serve(_configured(path, state, listen, fake), clouds))
    except PolyportError as error:
        raise click.ClickException(error.message) from error


@main.command()
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="Configuration (TOML).")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory.")
def down(path: Path | None, state: Path | None) -> None:
    """Stop the guests of a cloud that is not running.

    Its bridges go too. Servers stay in the database; with the next `polyport up` they are shut off, to be started.
    """
    from polyport.process import take_down

    _log(False)
    try:
        stopped, removed = asyncio.run(take_down(_configured(path, state, None, False)))
    except PolyportError as error:
        raise click.ClickException(error.message) from error
    click.echo(f"stopped {stopped} guests, removed {removed} devices")


@main.command()
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="Configuration (TOML).")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory.")
def admin(path: Path | None, state: Path | None) -> None:
    """Let the administrator back into a cloud that is not running.

    The user admin is made where it is not there, is enabled, has every right and a new password, which is written to
    clouds.yaml in the state directory.
    """
    from polyport.process import restore_admin

    _log(False)
    try:
        written = asyncio.run(restore_admin(_configured(path, state, None, False)))
    except PolyportError as error:
        raise click.ClickException(error.message) from error
    click.echo(f"credentials: {written}")


@main.command()
def check() -> None:
    """Say what this machine can do, and what it lacks.

    The last lines tell which accelerator guests would get. Ends with status 1 where something is missing.
    """
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
    """Write the frames of a port as pcap.

    PORT is its name or id; the frames go to standard output, for `| wireshark -k -i -` or `| tcpdump -nr -`. This
    is a client: it finds the cloud as other OpenStack clients do, in clouds.yaml or OS_* variables.
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


@main.command()
@click.argument("port")
@click.option("--os-cloud", metavar="NAME", help="The cloud in clouds.yaml; also OS_CLOUD.")
def counters(port: str, os_cloud: str | None) -> None:
    """Write what a port has carried and dropped.

    PORT is its name or id; counted is what went through it since it was plugged, and what was dropped, by cause.
    Directions are the guest's: ingress is what comes to it. This is a client, as `capture` is.
    """
    try:
        client = Client(find_access(os_cloud, os.environ))
        counted = client.counters(client.port_id(port))
    except PolyportError as error:
        raise click.ClickException(error.message) from error
    for direction, traffic in counted.items():
        for name in ("packets", "bytes"):
            click.echo(f"{direction:8}{name:32}{traffic[name]:>16}")
        for cause, frames in traffic["dropped"].items():
            click.echo(f"{direction:8}{f'dropped {cause}':32}{frames:>16}")


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
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise click.BadParameter("HOST:PORT is wanted", param_hint="--listen")
        config = msgspec.structs.replace(config, api=msgspec.structs.replace(config.api, host=host, port=int(port)))
    if fake:
        config = msgspec.structs.replace(
            config,
            hypervisor=msgspec.structs.replace(config.hypervisor, driver="fake"),
            dataplane=msgspec.structs.replace(config.dataplane, driver="fake"),
        )
    return config


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
    )
    logging.Formatter.converter = time.gmtime
