"""A store that speaks S3's protocol, of the tests' own: moto's, in this process."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def serve_s3(bucket: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve an S3-like store in this process; gives its address, and the environment that whoever uses it needs.

    Args:
        bucket: that it shall have.
    """
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "assay", "AWS_SECRET_ACCESS_KEY": "assay", "AWS_DEFAULT_REGION": "us-east-1"}
    boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="assay", aws_secret_access_key="assay"
    ).create_bucket(Bucket=bucket)
    try:
        yield address, {**keys, "MLFLOW_S3_ENDPOINT_URL": address}
    finally:
        server.stop()
