"""Looking into the store beside weir's back, with the database's own client."""

import contextlib
import json
import sqlite3

import psycopg

import oracle

_EXACT = {
    # Partials of one bin are added here in Python: past 64 bits SQLite keeps text.
    "sqlite": """
        SELECT p.start_seconds, s.name, s.labels, p.count, p.integer_sum, p.float_count
        FROM partials_0 p JOIN series s ON s.series_id = p.series_id AND s.slot = p.slot
        WHERE s.name = ?""",
    "postgresql": """
        SELECT extract(epoch FROM p.start_time)::bigint, s.name, s.labels::text,
          p.count, p.integer_sum::text, p.float_count
        FROM partials_0 p JOIN series s ON s.series_id = p.series_id AND s.slot = p.slot
        WHERE s.name = %s""",
}
_VIEW = {
    "sqlite": """
        SELECT CAST(strftime('%s', start_time) AS INTEGER), labels, count, sum, min, max
        FROM bins WHERE window_size = ? AND metric_name = ?""",
    "postgresql": """
        SELECT extract(epoch FROM start_time)::bigint, labels::text, count, sum, min, max
        FROM bins WHERE window_size = %s AND metric_name = %s""",
}


@contextlib.contextmanager
def _connection(url: str):
    """The dialect and a read-only connection."""
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(
            f"file:{url.removeprefix('sqlite:')}?mode=ro", uri=True, timeout=30
        )
        try:
            yield "sqlite", connection
        finally:
            connection.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("SET search_path TO weir_aggregator")
            yield "postgresql", connection


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(json.loads(text).items()))


def exact_bins(url: str, name: str) -> dict:
    """(labels, bin start) -> (count, integer sum) of the finest tier, from its table."""
    found: dict = {}
    with _connection(url) as (dialect, connection):
        for start, _, labels, count, integer_sum, float_count in connection.execute(
            _EXACT[dialect], (name,)
        ):
            assert float_count == 0
            key = (_labels(labels), int(start))
            before = found.get(key, (0, 0))
            found[key] = (before[0] + count, before[1] + int(integer_sum))
    return found


def view_bins(url: str, window: str, name: str) -> dict:
    """(labels, bin start) -> (count, sum, min, max) of the view people query."""
    with _connection(url) as (dialect, connection):
        rows = connection.execute(_VIEW[dialect], (window, name)).fetchall()
    found = {(_labels(labels), int(start)): tuple(rest) for start, labels, *rest in rows}
    assert len(found) == len(rows), "a bin is in the view twice"
    return found


def aggregates(url: str, window: str, name: str) -> list[tuple]:
    """The rows of metric_aggregates, seed columns in seed order."""
    placeholder = "?" if url.startswith("sqlite:") else "%s"
    with _connection(url) as (_, connection):
        return connection.execute(
            "SELECT metric_name, window_size, timestamp, tags,"
            " min_value, max_value, avg_value, count"
            " FROM metric_aggregates"
            f" WHERE window_size = {placeholder} AND metric_name = {placeholder}",
            (window, name),
        ).fetchall()


def check_integrity(url: str) -> None:
    """SQLite's own opinion of its file."""
    if url.startswith("sqlite:"):
        with _connection(url) as (_, connection):
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def key_of(sample: oracle.Sample, width: int) -> tuple:
    return sample.series.labels, oracle.align_down(sample.time_ns // oracle.SECOND, width)
