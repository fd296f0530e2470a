"""An S3 server on loopback (moto's), with a bucket, for tests and further targets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from tests.catalog_support import free_port

BUCKET = "ice"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start and stop the server; yields its address."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-p", url.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                if process.poll() is not None:  # else another server on that port would be taken for it
                    raise RuntimeError(f"the S3 server at {url} ended: is the port taken?")
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5) as answer,
                ):
                    answer.read()
                    break
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def ask_for_keys(url: str, *, strict: bool) -> None:
    """From now on refuse accounts that do not exist, which is all of them, or refuse none."""
    allowed = b"0" if strict else b"inf"
    request = urllib.request.Request(
        f"{url}/moto-api/reset-auth", data=allowed, method="POST", headers={"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def environment(url: str) -> dict[str, str]:
    """What a process needs to find the server."""
    return {**os.environ, **KEYS, "AWS_ENDPOINT_URL": url}
