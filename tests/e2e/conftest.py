"""What every end-to-end test may ask for."""

import os

# gRPC's fork handlers are for programs that call os.fork; these start executables.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pathlib
import random
import shutil
import tempfile

import pytest

import postgres
import processes

STORES = ("sqlite", "postgres")
TOPOLOGIES = ("all_in_one", "separate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, processes.Deployment):
                report.sections.append((f"logs of {name}", value.logs()))
    return report


@pytest.fixture(scope="session")
def postgres_cluster():
    cluster = postgres.PostgresCluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def work_dir(request):
    """A folder for this test process. Kept when something failed, and named."""
    parent = os.environ.get("WEIR_E2E_WORK")
    if parent:
        pathlib.Path(parent).mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-e2e-", dir=parent))
    yield folder
    if request.session.testsfailed:
        print(f"\nlogs and data are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def seed():
    """WEIR_TEST_SEED, or a fresh one; printed, so that a failure can be had again."""
    value = int(os.environ.get("WEIR_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"WEIR_TEST_SEED={value}")
    return value


def make_deployment(folder, store: str, topology: str, request, **extra) -> processes.Deployment:
    """A deployment that is not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if store == "sqlite":
        url = f"sqlite:{folder / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres_cluster").create_database()
    if topology == "all_in_one":
        return processes.AllInOne(folder, url, **extra)
    return processes.Separate(folder, url, **extra)


def _unique_folder(work_dir) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="d-", dir=work_dir))


def _running(deployment):
    try:
        deployment.start()
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


@pytest.fixture(
    scope="module", params=[(s, t) for s in STORES for t in TOPOLOGIES], ids=lambda p: "-".join(p)
)
def deployment(request, work_dir):
    """A running weir, shared by the tests of a file: each uses its own names."""
    store, topology = request.param
    yield from _running(make_deployment(_unique_folder(work_dir), store, topology, request))


@pytest.fixture(params=STORES)
def separate(request, work_dir):
    """Separate processes of one test's own, to be killed at will."""
    yield from _running(
        make_deployment(_unique_folder(work_dir), request.param, "separate", request)
    )


@pytest.fixture(
    params=[("sqlite", "all_in_one"), ("postgres", "separate")], ids=lambda p: "-".join(p)
)
def own_deployment(request, work_dir):
    """A weir of one test's own."""
    store, topology = request.param
    yield from _running(make_deployment(_unique_folder(work_dir), store, topology, request))
