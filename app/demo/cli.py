"""The command line for development, `kindryn-zoom-dev`: demo, benchmarks, chaos, simulated Zoom.

It stands apart from `kindryn-zoom`, because the wheel and the image contain none of these packages.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from app.chaos import run as chaos_run
from app.demo import bench as benchmark
from app.demo import burst as burst_benchmark
from app.demo import walk
from app.devstack.environment import ExternalServers
from app.devstack.simulator_process import simulator

INTERRUPTED = 130  # the status a shell gives to a program that Ctrl-C ended

commands = typer.Typer(
    help="Try Kindryn Zoom out, measure it and test it under faults.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
commands.command()(simulator)


@commands.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, for people and programs to try.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write everything that was said and stored to this JSON file.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(envvar="DATABASE_URL", help="Use this PostgreSQL.")] = None,
    redis_url: Annotated[str | None, typer.Option(envvar="REDIS_URL", help="Use this Redis.")] = None,
    s3_endpoint_url: Annotated[str | None, typer.Option(envvar="S3_ENDPOINT_URL", help="Use this S3.")] = None,
    s3_access_key_id: Annotated[str | None, typer.Option(envvar="S3_ACCESS_KEY_ID")] = None,
    s3_secret_access_key: Annotated[str | None, typer.Option(envvar="S3_SECRET_ACCESS_KEY")] = None,
) -> None:
    """Start everything on this machine and walk the reviewer plan.

    The exit status is 0 if every step passed.
    """
    servers = ExternalServers(database_url, redis_url, s3_endpoint_url, s3_access_key_id, s3_secret_access_key)
    status = INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        status = asyncio.run(walk.run(servers, keep=keep, report=report))
    raise typer.Exit(status)


@commands.command()
def bench() -> None:
    """Measure the hot paths against their floors; writes var/bench.json."""
    raise typer.Exit(benchmark.run())


@commands.command()
def burst(
    rsvps: Annotated[int, typer.Option(min=500, help="In whole events of 500 members each.")] = 5000,
) -> None:
    """Measure how much of Zoom's limit a burst of RSVPs uses; writes var/burst.json."""
    raise typer.Exit(burst_benchmark.run(rsvps))


@commands.command()
def chaos(
    seconds: Annotated[
        float, typer.Option("--for", min=20, help="Seconds of faults; coming to rest takes longer.")
    ] = 1800,
    seed: Annotated[int, typer.Option(help="The same seed, the same faults and the same workload.")] = 7,
) -> None:
    """Kill, freeze and cut off processes while a community uses them.

    Then nothing that was accepted may be lost.

    Writes var/chaos.json, and the processes' logs to var/chaos-logs. The status is 1 if an invariant does not hold.
    """
    raise typer.Exit(chaos_run.run_command(seed, seconds))


def main() -> None:
    """Run one command."""
    commands()
