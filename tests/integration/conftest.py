"""A local S3 server, for inputs and results behind a URI."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pickled import pickles_below

ROWS = b"id\tseq\n" + b"".join(b"g%d\tacgu\n" % row for row in range(3))


OF_THE_OLD_PROGRAM = ("pytorch_model.bin", "scaler.pkl", "training_args.bin")


@pytest.fixture(autouse=True)
def no_pickle_is_written(request: pytest.FixtureRequest) -> Iterator[None]:
    """Look through what every mode has written in a test: no file of ours is a pickle."""
    names = [name for name in ("tmp_path", "experiment") if name in request.fixturenames]
    folders = [request.getfixturevalue(name) for name in names]
    yield
    for folder in folders:
        if isinstance(folder, Path):
            found = pickles_below(folder)
            assert [path for path in found if path.name not in OF_THE_OLD_PROGRAM] == []


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URI of a bucket with a few files; the environment tells where it is served."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        client = boto3.client("s3")
        where = {"LocationConstraint": "eu-central-1"}
        client.create_bucket(Bucket="inputs", CreateBucketConfiguration=where)
        for name, content in {
            "rows/part-0.tsv": ROWS,
            "rows/part-1.tsv.gz": gzip.compress(ROWS),
            "rows/_SUCCESS": b"",
        }.items():
            client.put_object(Bucket="inputs", Key=name, Body=content)
        yield "s3://inputs"
    server.stop()
