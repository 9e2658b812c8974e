"""An S3 server in one process: `python -m app.devstack.s3_server FOLDER ACCESS_KEY PORT`.

It reads the secret key from FOLDER/secret. It is OpenStack Swift's proxy with its S3 interface (s3api) and the account,
container and object servers behind it. Each of these is normally a process on a machine of its own; here each is a
green thread of one process. https://docs.openstack.org/swift/latest/
"""

import logging
import os
import socket
import sys
from pathlib import Path

import eventlet

LOOPBACK = "127.0.0.1"
DEVICE = "disk"
BACKENDS = ("account", "container", "object")

SERVER = """\
[DEFAULT]
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = ERROR
log_custom_handlers = app.devstack.s3_server.log_to_stderr
"""

BACKEND = """
[app:main]
use = egg:swift#{name}
"""

# Swift inserts the filters that are not named here (gatekeeper, listing_formats, copy ...) by itself.
PROXY = """
[pipeline:main]
pipeline = catch_errors s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
[filter:slo]
use = egg:swift#slo
"""


def serve(folder: Path, access_key: str, port: int) -> None:
    """Answer S3 requests on a loopback port until the process ends.

    `access_key` has the form account:user. Raises OSError if the port is taken, or if the disk has no user extended
    attributes, where Swift keeps its metadata.
    """
    from swift.common import utils

    os.setxattr(folder, "user.kindryn", b"")
    proxy_listener = socket.create_server((LOOPBACK, port), backlog=512)
    etc = folder / "etc"
    devices = folder / "devices"
    etc.mkdir()
    (devices / DEVICE).mkdir(parents=True)
    (etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = kindryn\n")
    utils.set_swift_dir(str(etc))

    common = SERVER.format(etc=etc, devices=devices)
    listeners = {name: socket.create_server((LOOPBACK, 0), backlog=128) for name in BACKENDS}
    for name, listener in listeners.items():
        save_swift_ring(etc / f"{name}.ring.gz", listener.getsockname()[1])
        (etc / f"{name}.conf").write_text(common + BACKEND.format(name=name))
    user = access_key.replace(":", "_")
    secret = (folder / "secret").read_text()
    (etc / "proxy.conf").write_text(common + PROXY.format(user=user, secret=secret))

    servers = [
        eventlet.spawn(serve_app, etc / f"{name}.conf", listening)
        for name, listening in (listeners | {"proxy": proxy_listener}).items()
    ]
    print(f"swift answers on port {port}", flush=True)
    for server in servers:
        server.wait()


def save_swift_ring(path: Path, port: int) -> None:
    """Write the ring file of one kind of data: all of it is on the one device behind `port`."""
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": LOOPBACK, "port": port, "device": DEVICE, "weight": 1})
    builder.rebalance()
    builder.get_ring().save(str(path))


def serve_app(conf: Path, listener: socket.socket) -> None:
    """Serve the WSGI application that a configuration file describes."""
    from eventlet import wsgi
    from swift.common.wsgi import NullLogger, SwiftHttpProtocol, loadapp

    wsgi.server(
        listener,
        loadapp(str(conf)),
        NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,  # botocore looks for "ETag", not "Etag"
    )


def log_to_stderr(*arguments: object) -> None:
    """Swift's hook for log handlers. The sixth argument is the logger.

    Without it, Swift writes only to syslog.
    """
    logger = arguments[5]
    if isinstance(logger, logging.Logger):
        logger.addHandler(logging.StreamHandler())


if __name__ == "__main__":
    eventlet.monkey_patch()
    serve(Path(sys.argv[1]), access_key=sys.argv[2], port=int(sys.argv[3]))
