"""The PostgreSQL of the tests: is it real, does it survive what drills do to it, and does it leave nothing behind?"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support import postgres_guard
from tests.support.postgres import Cluster, new_folder, sweep
from tests.support.postgres_fixtures import need_postgres
from tests.support.waiting import eventually
from tests.support.workspace import REPOSITORY


def test_a_database_is_empty_and_owned_by_no_superuser(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE kept (n BIGINT)")
        role = connection.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert role == ("wvo", False)


def test_a_database_is_dropped_while_somebody_is_connected(postgres: Cluster) -> None:
    with postgres.database() as url:
        left_open = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError), left_open:
        left_open.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_what_was_committed_survives_a_kill_of_every_process(own_postgres: Cluster) -> None:
    with own_postgres.database() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        own_postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)

        own_postgres.start()

        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_a_restart_keeps_the_port_and_changes_settings(own_postgres: Cluster) -> None:
    port = own_postgres.port
    own_postgres.stop("immediate")
    assert not own_postgres.running

    own_postgres.restart(fsync="on", max_connections="33")

    assert own_postgres.sql("SHOW fsync") == [("on",)]
    assert own_postgres.sql("SHOW max_connections") == [("33",)]
    assert own_postgres.sql("SHOW port") == [(str(port),)]


MAKER = """
import sys
from tests.support.postgres import Cluster
print(Cluster.make().folder, flush=True)
sys.stdin.read()
"""


def test_a_killed_test_leaves_no_server_behind() -> None:
    need_postgres()
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with maker:
        assert maker.stdout is not None
        folder = Path(maker.stdout.readline().strip())
        server = postgres_guard.postmaster(folder)
        assert server is not None

        maker.send_signal(signal.SIGKILL)

    eventually(lambda: not folder.exists())
    assert _is_gone(server)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_folder_that_nobody_holds_any_more_is_swept() -> None:
    need_postgres()
    abandoned, held = new_folder(), new_folder()
    lifeline = postgres_guard.hold(held)
    os.close(postgres_guard.hold(abandoned))
    for folder in (abandoned, held):
        os.utime(folder, (0, 0))

    sweep()

    assert not abandoned.exists()
    assert held.exists()
    os.close(lifeline)
    postgres_guard.remove(held)
