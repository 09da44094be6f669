"""PostgreSQL only: addresses without secrets, roles, locks, HNSW, damage."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.galleries import postgres_address, row
from tests.support.own_postgres import programs

psycopg = pytest.importorskip("psycopg")

from tests.support.random_vectors import RandomVectors, long_tail  # noqa: E402
from whichlandmark.core.errors import BusyError, DataError, GalleryError, OptionError  # noqa: E402
from whichlandmark.gallery.checksums import meta_sum  # noqa: E402
from whichlandmark.gallery.postgres import search, store  # noqa: E402
from whichlandmark.gallery.postgres import vectors as vectors_module  # noqa: E402
from whichlandmark.gallery.postgres.connection import address_of  # noqa: E402
from whichlandmark.gallery.postgres.store import PostgresGallery  # noqa: E402
from whichlandmark.gallery.records import Credit, GalleryRow, LandmarkRecord  # noqa: E402

pytestmark = pytest.mark.server


@pytest.fixture
def address() -> str:
    return postgres_address()


@pytest.fixture
def gallery(address: str) -> Iterator[PostgresGallery]:
    with PostgresGallery.create(address, "fake-1", 4) as made:
        yield made


def run_sql(address: str, *statements: str) -> list[Any]:
    """Run statements as the server's owner, in the gallery's schema; returns the last rows."""
    plain, _, name = address.partition("?gallery=")
    with psycopg.connect(plain, autocommit=True) as sql:
        sql.execute(f"SET search_path TO whichlandmark_{name.partition('&')[0]}, public")
        for statement in statements:
            cursor = sql.execute(statement)
        return cursor.fetchall() if cursor.description else []


# --- addresses ---


def test_addresses_are_shown_without_secrets() -> None:
    text = (
        "postgresql://ann:s%20cret@db.example:5433,other:5434/photos?gallery=paris"
        "&sslmode=verify-full&sslpassword=hush&options=-c%20statement_timeout%3D5min"
    )
    address = address_of(text)
    assert address.gallery == "paris"
    assert address.schema == "whichlandmark_paris"
    assert address.parameters["password"] == "s cret"
    assert address.parameters["host"] == "db.example,other"
    assert address.parameters["sslmode"] == "verify-full"
    assert address.parameters["options"] == "-c statement_timeout=5min"
    assert "gallery" not in address.parameters
    for shown in (address.shown, repr(address)):
        assert not any(secret in shown for secret in ("s%20cret", "s cret", "hush"))
    assert address.shown == (
        "postgresql://ann@db.example:5433,other:5434/photos?gallery=paris&sslmode=verify-full"
        "&options=-c%20statement_timeout%3D5min"
    )
    again = address_of(address.shown)  # what is shown is an address
    assert again.parameters == {
        k: v for k, v in address.parameters.items() if k not in ("password", "sslpassword")
    }
    assert address_of("postgresql://h/d?password=hush&gallery=x").shown == (
        "postgresql://h/d?gallery=x"
    )


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://ann:hush@host/db",
        "postgresql://ann:hush@host/db?gallery=",
        "postgresql://ann:hush@host/db?gallery=Paris",
        "postgresql://ann:hush@host/db?gallery=x;drop",
        "postgresql://ann:hush@host/db?gallery=a&gallery=b",
        "postgresql://ann:hush@host/db?gallery=" + "a" * 41,
        "postgresql://ann:hush@[::1/db?gallery=paris",
        "postgresql://ann:hush@host/db?gallery=paris&colour=red",
        "postgresql://ann:hu%00sh@host/db?gallery=paris",
        "postgresql://ann:hush%zz@host/db?gallery=paris",
        "postgresql://host/db?gallery=paris&password=hush&colour=red",
    ],
)
def test_invalid_addresses_are_refused(bad: str) -> None:
    with pytest.raises(OptionError, match="expected postgresql://USER@HOST:PORT") as raised:
        PostgresGallery.open(bad)
    assert "hush" not in str(raised.value)


def test_an_unreachable_server_gives_an_error(tmp_path: Path) -> None:
    for place in ("localhost:1", f"%2Fnowhere{str(tmp_path).replace('/', '%2F')}"):
        where = f"postgresql://ann:hush@{place}/db?gallery=paris"
        with pytest.raises(
            GalleryError, match=r"cannot be reached.*whether the server runs"
        ) as raised:
            PostgresGallery.open(where)
        assert "hush" not in str(raised.value)
        assert raised.value.exit_code == 5


def test_a_missing_gallery_gives_an_error(address: str) -> None:
    with pytest.raises(GalleryError, match="no gallery there; make one with"):
        PostgresGallery.open(address)
    with pytest.raises(GalleryError, match=r'"nobodys" does not exist'):
        PostgresGallery.open(address.replace("/postgres?", "/nobodys?"))
    PostgresGallery.create(address, "fake-1", 4).close()
    run_sql(address, "UPDATE meta SET format = 9")
    with pytest.raises(GalleryError, match="a gallery of format 9; this program reads format 3"):
        PostgresGallery.open(address)
    run_sql(address, "DROP TABLE vectors")
    run_sql(address, "UPDATE meta SET format = 3")
    with PostgresGallery.open(address) as gallery, pytest.raises(GalleryError, match="vectors"):
        gallery.table()


# What makes a gallery of an older format out of one as it is made now.
FORMAT_2 = ("ALTER TABLE photos DROP COLUMN licence_url", "UPDATE meta SET format = 2")

FORMAT_1 = (FORMAT_2[0], "DROP INDEX photos_by_hash", "ALTER TABLE photos DROP COLUMN source",
            "UPDATE meta SET format = 1")  # fmt: skip


@pytest.mark.parametrize("statements", [FORMAT_1, FORMAT_2])
def test_a_gallery_of_a_format_before_is_brought_to_this_one_when_its_owner_opens_it(
    address: str, statements: tuple[str, ...]
) -> None:
    with PostgresGallery.create(address, "fake-1", 4) as gallery:
        gallery.put([row("x", author="Ann"), row("y", thumbnail=b"jpeg")])
        state, sums = gallery.state(), gallery.sums()[1].tolist()
    run_sql(address, *statements)
    with PostgresGallery.open(address) as gallery:
        assert (gallery.state(), gallery.sums()[1].tolist(), gallery.faults()) == (state, sums, [])
        assert gallery.with_hashes(["hash-y", "other"]) == {"hash-y": ["y"]}
        whole = Credit("Bea", "CC0", "https://example.org/cc0", "https://example.org/y")
        gallery.credit({"y": whole})
        assert gallery.credits(["x", "y"]) == {"x": Credit("Ann", ""), "y": whole}
    with PostgresGallery.open(address) as gallery:
        assert gallery.faults() == []
    assert run_sql(address, "SELECT format FROM meta") == [(3,)]


def test_several_programs_bring_a_gallery_to_this_format_at_once(address: str) -> None:
    PostgresGallery.create(address, "fake-1", 4).close()
    run_sql(address, *FORMAT_1)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: PostgresGallery.open(address), range(4)))
    for number, gallery in enumerate(opened):
        with gallery:
            gallery.put([row(f"p{number}")])
    with PostgresGallery.open(address) as gallery:
        assert (gallery.count(), gallery.faults()) == (4, [])


def test_a_role_that_may_not_change_tables_is_told_who_must_open_the_gallery(address: str) -> None:
    PostgresGallery.create(address, "fake-1", 4).close()
    schema, rights = address_of(address).schema, "SELECT, INSERT, UPDATE, DELETE"
    run_sql(address, *FORMAT_1, "CREATE ROLE reader LOGIN", "CREATE ROLE writer LOGIN",
            f"GRANT USAGE ON SCHEMA {schema} TO reader, writer",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader",
            f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO writer")  # fmt: skip
    try:
        for role in ("reader", "writer"):
            with pytest.raises(GalleryError, match="owner of its tables open it once"):
                PostgresGallery.open(address.replace("postgres@", f"{role}@"))
        assert run_sql(address, "SELECT format FROM meta") == [(1,)]
        PostgresGallery.open(address).close()
        with PostgresGallery.open(address.replace("postgres@", "writer@")) as gallery:
            gallery.put([row("x")])
            assert gallery.with_hashes(["hash-x"]) == {"hash-x": ["x"]}
    finally:
        run_sql(address, "DROP OWNED BY reader, writer", "DROP ROLE reader, writer")


def test_photos_are_found_by_their_content(gallery: PostgresGallery) -> None:
    gallery.put([replace(row(f"p{i}"), hash=f"{'0' * 40}{i % 3}") for i in range(6)])
    ask = [f"{'0' * 40}1", "0" * 40, f"{'0' * 40}2", "x\0y", "\udcff"]
    assert gallery.with_hashes(ask) == {ask[0]: ["p1", "p4"], ask[2]: ["p2", "p5"]}
    with gallery._snapshot() as (tables, _):
        tables.sql.execute("SET LOCAL enable_seqscan = off")
        query = f"EXPLAIN SELECT 1 FROM photos WHERE {store.BY_VALUE['hash']}"
        plan = str(tables.sql.execute(query.replace("wanted", "'x'")).fetchall())
    assert "photos_by_hash" in plan


def test_using_a_closed_gallery_gives_an_error(gallery: PostgresGallery) -> None:
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="after it was closed"):
        gallery.count()


@pytest.mark.parametrize("dim", [0, 16_001])
def test_dimensions_that_postgres_cannot_store_are_refused(address: str, dim: int) -> None:
    with pytest.raises(GalleryError, match="1 to 16000"):
        PostgresGallery.create(address, "fake-1", dim)


# --- rights ---


def test_a_read_only_role_can_search_but_not_change(address: str) -> None:
    reader = address.replace("postgres@", "reader@")
    with PostgresGallery.create(address, "fake-1", 4) as owner:
        owner.put([row("x")])
        with pytest.raises(GalleryError, match=r'role "reader" does not exist'):
            PostgresGallery.open(reader)
        schema = address_of(address).schema
        run_sql(address, "CREATE ROLE reader LOGIN", f"GRANT USAGE ON SCHEMA {schema} TO reader",
              f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")  # fmt: skip
        try:
            with PostgresGallery.open(reader) as gallery:
                assert gallery.table().ids.tolist() == ["x"]
                assert gallery.faults() == []
                assert gallery.nearest(np.eye(1, 4, dtype=np.float32), 1).rows.tolist() == [[1]]
                for change in (lambda: gallery.put([row("y")]), lambda: gallery.remove(["x"])):
                    with pytest.raises(GalleryError, match="this role lacks the permission"):
                        change()
            with pytest.raises(GalleryError, match="lacks the permission"):
                PostgresGallery.create(postgres_address().replace("postgres@", "reader@"), "f", 4)
            assert owner.count() == 1
        finally:
            run_sql(address, "DROP OWNED BY reader", "DROP ROLE reader")


def test_a_database_without_pgvector(address: str) -> None:
    run_sql(address, "CREATE DATABASE bare", "CREATE ROLE guest LOGIN",
          "GRANT CREATE ON DATABASE bare TO guest")  # fmt: skip
    try:
        where = address.replace("/postgres?", "/bare?").replace("postgres@", "guest@")
        with pytest.raises(GalleryError, match=r"let its owner install pgvector and run"):
            PostgresGallery.create(where, "fake-1", 4)
        PostgresGallery.create(where.replace("guest@", "postgres@"), "fake-1", 4).close()  # may
    finally:
        run_sql(address, "DROP DATABASE bare WITH (FORCE)", "DROP ROLE guest")


def test_passwords_come_from_libpq(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment or the address; the error for a wrong one does not show it."""
    ((hba,),) = run_sql(address, "SHOW hba_file")
    rules = Path(hba).read_text()
    schema = address_of(address).schema
    locked = address.replace("postgres@", "locked@")
    with PostgresGallery.create(address, "fake-1", 4):
        run_sql(address, "CREATE ROLE locked LOGIN PASSWORD 'right'",
              f"GRANT USAGE ON SCHEMA {schema} TO locked",
              f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO locked")  # fmt: skip
        try:
            Path(hba).write_text("local all locked scram-sha-256\n" + rules)
            run_sql(address, "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
            with pytest.raises(GalleryError, match="no password supplied"):
                PostgresGallery.open(locked)
            for wrong in (locked.replace("@", ":wr%6Fng@"), f"{locked}&password=wrong"):
                with pytest.raises(GalleryError, match="password authentication failed") as raised:
                    PostgresGallery.open(wrong)
                assert "wrong" not in str(raised.value)
                assert "wr%6Fng" not in str(raised.value)
            with PostgresGallery.open(locked.replace("@", ":right@")) as gallery:
                assert "right" not in gallery.name
            monkeypatch.setenv("PGPASSWORD", "right")
            with PostgresGallery.open(locked) as gallery:
                assert gallery.count() == 0
        finally:
            Path(hba).write_text(rules)
            run_sql(address, "SELECT pg_reload_conf()", "DROP OWNED BY locked", "DROP ROLE locked")


# --- concurrent access ---


def test_a_second_writer_waits_and_then_gets_busy(address: str) -> None:
    short = f"{address}&options=-c%20lock_timeout%3D100ms"
    with PostgresGallery.create(address, "fake-1", 4) as one, PostgresGallery.open(short) as two:
        with one._changing() as change:
            change.put([row("x")])
            with pytest.raises(BusyError, match="another process is writing to it"):
                two.put([row("y")])
            assert two.count() == 0  # readers see the last generation
        two.put([row("y")])
        assert one.table().ids.tolist() == ["x", "y"]
        assert one.faults() == []


def test_concurrent_writers_all_succeed(address: str) -> None:
    PostgresGallery.create(address, "fake-1", 4).close()
    wrong: list[Exception] = []

    def write(who: int) -> None:
        try:
            with PostgresGallery.open(address) as gallery:
                for i in range(8):
                    gallery.put([row(f"{who}-{i}"), row("shared", f"l{who}")])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with PostgresGallery.open(address) as gallery:
        assert (wrong, gallery.count(), gallery.generation) == ([], 33, 32)
        assert gallery.table().rows.tolist() == list(range(1, 34))
        assert gallery.faults() == []


def test_a_reader_keeps_its_generation_while_a_writer_goes_on(address: str) -> None:
    with PostgresGallery.create(address, "fake-1", 4) as writer:
        writer.put([row(f"p{i}", "old") for i in range(50)])
        with PostgresGallery.open(address) as reader, reader._snapshot() as (tables, _):
            writer.relabel({f"p{i}": "new" for i in range(50)})
            writer.remove(["p49"])
            found = tables.sql.execute("SELECT landmark FROM photos").fetchall()
            assert found == [("old",)] * 50
        assert set(writer.table().landmarks) == {"new"}


def test_threads_share_one_gallery(gallery: PostgresGallery) -> None:
    gallery.put([row(f"p{i}") for i in range(20)])
    wrong: list[object] = []

    def read() -> None:
        try:
            for _ in range(10):
                if gallery.nearest(np.eye(2, 4, dtype=np.float32), 3).rows.min() < 1:
                    wrong.append("fewer")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def shown(gallery: PostgresGallery, setting: str) -> str:
    with gallery._tables("statement") as tables:
        return str(tables.sql.execute("SELECT current_setting(%s)", (setting,)).fetchall()[0][0])


def test_every_statement_has_a_timeout(address: str) -> None:
    PostgresGallery.create(address, "fake-1", 4).close()

    def sleep(gallery: PostgresGallery) -> None:
        with gallery._tables("statement") as tables:
            tables.sql.execute("SELECT pg_sleep(5)")

    with PostgresGallery.open(f"{address}&options=-c%20statement_timeout%3D300ms") as gallery:
        with pytest.raises(GalleryError, match="took longer than statement_timeout"):
            sleep(gallery)
        assert gallery.count() == 0
    with PostgresGallery.open(address) as gallery:
        assert shown(gallery, "statement_timeout") == "1min"
        assert shown(gallery, "lock_timeout") == "10s"


def test_a_commit_is_synchronous_whatever_the_role_settings(address: str) -> None:
    PostgresGallery.create(address, "fake-1", 4).close()
    with PostgresGallery.open(f"{address}&options=-c%20synchronous_commit%3Doff") as gallery:
        assert shown(gallery, "synchronous_commit") == "on"


# --- a connection that is lost ---


def end_connections(address: str) -> None:
    run_sql(address, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
          "WHERE application_name = 'whichlandmark'")  # fmt: skip


def test_a_lost_connection_raises_a_gallery_error(address: str, gallery: PostgresGallery) -> None:
    gallery.put([row("x")])
    end_connections(address)
    with pytest.raises(GalleryError, match="connection was lost"):
        gallery.put([row("y")])
    assert gallery.table().ids.tolist() == ["x"]  # after connecting again
    gallery.put([row("y")])
    assert gallery.count() == 2


def test_a_connection_lost_within_a_batch_changes_nothing(
    address: str, gallery: PostgresGallery
) -> None:
    gallery.put([row("x")])
    before = gallery.state()

    def put() -> None:
        with gallery._changing() as change:
            change.put([row("y"), row("x", "other")])
            end_connections(address)

    with pytest.raises(GalleryError, match="what was being written is not in the gallery"):
        put()
    assert gallery.state() == before
    assert gallery.faults() == []


def test_a_connection_lost_at_commit_reports_an_unknown_outcome(
    address: str, gallery: PostgresGallery
) -> None:
    def put() -> None:
        with gallery._changing() as change:
            change.put([row("y")])
            written = change.write_meta

            def write_and_lose() -> None:
                written()
                end_connections(address)

            change.write_meta = write_and_lose  # type: ignore[method-assign]

    with pytest.raises(GalleryError, match="it is in the gallery, whole, if its generation has "
                       "reached 1; doing it again does no harm"):  # fmt: skip
        put()
    assert (gallery.generation, gallery.count()) == (0, 0)


# --- vectors and texts ---


def test_every_float16_reads_back_bit_for_bit(address: str) -> None:
    """All finite float16 values: denormals, both zeros, the largest."""
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = values[np.isfinite(values)].reshape(-1, 992)
    with PostgresGallery.create(address, "fake-1", 992) as gallery:
        gallery.put([GalleryRow(f"p{i}", "p", "a", "", "", vector.astype(np.float32))
                     for i, vector in enumerate(finite)])  # fmt: skip
        assert gallery.table().vectors.tobytes() == finite.tobytes()
        rows = np.array([64, 1, 33])
        assert gallery.vectors_of(rows).tobytes() == finite[rows - 1].tobytes()


def test_tables_longer_than_a_block_read_back(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "BLOCK_ROWS", 7)
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    with PostgresGallery.create(address, "fake-1", 3) as gallery:
        for count in (1, 7, 13, 29):  # 1, 8, 21, 50 rows in all
            start = gallery.count()
            gallery.put([GalleryRow(f"p{i}", "p", "a", "", "", vectors[i].astype(np.float32))
                         for i in range(start, start + count)])  # fmt: skip
            assert gallery.table().vectors.tobytes() == vectors[: start + count].tobytes()


def test_ids_with_special_characters_are_safe(gallery: PostgresGallery) -> None:
    gallery.put([row("it's; DROP TABLE photos --"), row("%s"), row("a\\b")])
    assert set(gallery.stamps(["%s", "x\0y", "\udcff", "a\\b"])) == {"%s", "a\\b"}
    none = gallery.nearest(np.eye(1, 4, dtype=np.float32), 1, landmarks=["x\0y", "\udcff"])
    assert none.rows.tolist() == [[-1]]
    assert gallery.remove(["it's; DROP TABLE photos --"]) == 1
    with pytest.raises(DataError, match="no photo of id"):
        gallery.remove(["x\0y"])
    assert gallery.count() == 2


def test_an_unknown_id_suggests_the_nearest_in_a_large_gallery(
    gallery: PostgresGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_IDS_COMPARED", 10)
    gallery.put([row(f"paris/{i:03}.jpg") for i in range(300)])
    with pytest.raises(DataError, match=r"did you mean 'paris/123.jpg'"):
        gallery.remove(["123.jpg"])


def test_the_documented_backup_restores(address: str) -> None:
    """pg_dump of the schema, pg_restore into another database: the same gallery."""
    plain, _, name = address.partition("?gallery=")
    other = plain.removesuffix("/postgres") + "/restored"
    with PostgresGallery.create(address, "fake-1", 4) as gallery:
        gallery.put([row(f"p{i}", thumbnail=b"x" * 300) for i in range(20)])
        state, sums = gallery.state(), gallery.sums()[1].tolist()
    run_sql(address, "CREATE DATABASE restored")
    try:
        with psycopg.connect(other, autocommit=True) as sql:
            sql.execute("CREATE EXTENSION vector")
        dumped = subprocess.run(
            [programs() / "pg_dump", "-Fc", "-n", f"whichlandmark_{name}", plain],
            capture_output=True, check=True,
        )  # fmt: skip
        subprocess.run([programs() / "pg_restore", "-d", other], input=dumped.stdout, check=True)
        with PostgresGallery.open(f"{other}?gallery={name}") as again:
            assert (again.state(), again.sums()[1].tolist(), again.faults()) == (state, sums, [])
            again.put([row("p3"), row("new")])
            assert again.table(after=20).ids.tolist() == ["new"]
    finally:
        run_sql(address, "DROP DATABASE restored WITH (FORCE)")


def test_a_slow_suggestion_does_not_delay_the_error(
    gallery: PostgresGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_IDS_COMPARED", 10)
    monkeypatch.setattr(store, "HINT_TIMEOUT", "20ms")
    monkeypatch.setattr(store, "SIMILAR_IDS",
                        "SELECT pg_sleep(5)::text WHERE %(id)s <> ''")  # fmt: skip
    gallery.put([row(f"p{i}") for i in range(12)])
    with pytest.raises(DataError, match=r"no photo of id 'nobody'; nothing was changed"):
        gallery.remove(["p1", "nobody"])
    assert (gallery.count(), shown(gallery, "statement_timeout")) == (12, "1min")


# --- the search graph ---


def load(gallery: PostgresGallery, count: int, dim: int) -> RandomVectors:
    codes = long_tail(count, count // 12)
    vectors = RandomVectors(int(codes.max()) + 1, dim)
    names = ["" if i % 3 == 0 else f"l{code}" for i, code in enumerate(codes)]
    near = vectors.around(codes, 7)
    gallery.put([GalleryRow(f"p{i}", "p", name, "", "", near[i]) for i, name in enumerate(names)])
    return vectors


@pytest.mark.parametrize("which", ["landmarks", "distractors", "half", "all but few"])
def test_hnsw_search_finds_the_exact_neighbours(
    address: str, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 200)
    with PostgresGallery.create(address, "fake-1", 32) as gallery:
        vectors = load(gallery, 1500, 32)
        queries = vectors.around(np.arange(100), 99)
        distractors = which == "distractors"
        names = sorted(gallery.labels().names)
        chosen = {"half": names[::2], "all but few": names[3:]}.get(which)
        exact = gallery.nearest(queries, 10, distractors=distractors, landmarks=chosen)
        lines = gallery.optimize(memory="64MB", workers=0)
        assert lines == [
            "1,000 photos with a landmark: index built",
            "500 distractors: index built",
        ]
        found = gallery.nearest(queries, 10, distractors=distractors, landmarks=chosen)
        pairs = zip(found.rows.tolist(), exact.rows.tolist(), strict=True)
        assert np.mean([len(set(a) & set(b)) for a, b in pairs]) / 10 >= 0.99
        same = found.rows == exact.rows
        assert found.similarity[same] == pytest.approx(exact.similarity[same], abs=1e-6)
        assert gallery.optimize(memory="64MB", workers=0)[0].endswith("the index exists")


def test_searches_use_the_hnsw_index(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the query plans, with and without a filter; an exact search does not use it."""
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 200)
    wanted = search.SearchScope("NOT bank")
    filtered = search.SearchScope("NOT bank", ["l1", "l2"])
    values = {"queries": ["[" + ",".join(["0.1"] * 32) + "]"], "most": 5, "names": ["l1", "l2"],
              "prefixes": ["l1", "l2"]}  # fmt: skip
    with PostgresGallery.create(address, "fake-1", 32) as gallery:
        load(gallery, 1500, 32)
        gallery.optimize(memory="64MB", workers=0)
        with gallery._tables("snapshot") as tables:
            for one, graph in ((wanted, True), (filtered, True), (wanted, False)):
                tables.sql.execute(f"SET LOCAL enable_sort = {'off' if graph else 'on'}")
                statement = (search._graph_query if graph
                             else search._exact_query)(one)  # fmt: skip
                lines = tables.sql.execute("EXPLAIN " + statement, values)
                plan = "\n".join(line for (line,) in lines)
                assert ("Index Scan using vectors_hnsw on" in plan) == graph, plan


def test_too_few_hnsw_results_fall_back_to_exact_search(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 5)
    graph_query = search._graph_query
    monkeypatch.setattr(search, "_graph_query",
                        lambda scope: graph_query(scope).replace("%(most)s", "3"))  # fmt: skip
    with PostgresGallery.create(address, "fake-1", 32) as gallery:
        vectors = load(gallery, 600, 32)
        queries = vectors.around(np.arange(10), 99)
        names = [name for name in gallery.labels().names if name != "l0"][::5]
        exact = [gallery.nearest(queries, 30, landmarks=one) for one in (names, None)]
        gallery.optimize(memory="64MB", workers=0)
        found = [gallery.nearest(queries, 30, landmarks=one) for one in (names, None)]
        for one, other in zip(found, exact, strict=True):
            assert one.rows.tolist() == other.rows.tolist()
        assert (found[1].rows >= 0).all()


def test_candidates_are_ranked_by_their_cosines(gallery: PostgresGallery) -> None:
    """In whatever order the graph returns them; ties by row number."""
    gallery.put([row("x", value=[0, 1, 0, 0]), row("y", value=[0.6, 0.8, 0, 0]),
                 row("z", value=[0, 1, 0, 0]), row("w", value=[1, 0, 0, 0])])  # fmt: skip
    rows, similarity = search._ranked(
        gallery.vectors_of, np.array([[0, 1, 0, 0]], np.float32), np.array([[4, 3, -1, 2, 1]]), 3
    )
    assert rows.tolist() == [[1, 3, 2]]
    assert similarity[0] == pytest.approx([1, 1, 0.8], abs=1e-3)


def test_changes_reach_the_hnsw_index(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 5)
    with PostgresGallery.create(address, "fake-1", 32) as gallery:
        vectors = load(gallery, 300, 32)
        gallery.optimize(memory="64MB", workers=0)
        one = vectors.around(np.array([3]), 55)
        gallery.put([GalleryRow("new", "p", "l3", "", "", one[0])])
        assert gallery.nearest(one, 1).rows.tolist() == [[301]]
        gallery.relabel({"new": ""})
        assert gallery.nearest(one, 1).rows.tolist() != [[301]]
        assert gallery.nearest(one, 1, distractors=True).rows.tolist() == [[301]]
        gallery.remove(["new"])
        assert 301 not in gallery.nearest(one, 50, distractors=True).rows
        assert gallery.faults() == []


def test_vectors_too_long_for_hnsw_are_searched_exactly(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 1)
    vectors = np.random.default_rng(0).normal(size=(6, 4100))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with PostgresGallery.create(address, "fake-1", 4100) as gallery:
        gallery.put([GalleryRow(f"p{i}", "p", "a", "", "", vector.astype(np.float32))
                     for i, vector in enumerate(vectors)])  # fmt: skip
        assert "at most 4,000 dimensions, these have 4,100" in gallery.optimize()[0]
        found = gallery.nearest(vectors[2:4].astype(np.float32), 1)
        assert found.rows.tolist() == [[3], [4]]
        assert gallery.faults() == []


def test_optimize_leaves_the_connection_as_it_was(gallery: PostgresGallery) -> None:
    names = ("statement_timeout", "maintenance_work_mem", "max_parallel_maintenance_workers")
    before = {name: shown(gallery, name) for name in names}
    assert before["statement_timeout"] == "1min"
    lines = gallery.optimize(memory="77MB", workers=1)
    assert lines[0] == (
        "0 photos with a landmark: all of them are compared; an index saves time from 20,000 on"
    )
    assert {name: shown(gallery, name) for name in before} == before


def test_with_little_shared_memory_the_index_is_built_by_one_process() -> None:
    statements: list[tuple[str, object]] = []

    class Server:
        """Fails to build the first index, as PostgreSQL does without shared memory."""

        def execute(self, statement: str, values: object = ()) -> Server:
            statements.append((statement, values))
            if len(statements) == 1:
                raise psycopg.errors.DiskFull("could not resize shared memory segment")
            return self

    search._create_index(Server(), "NOT bank")  # type: ignore[arg-type]
    assert statements[0] == statements[-1]
    assert "hnsw (data halfvec_ip_ops)" in statements[0][0]
    assert statements[1][0] == "SET max_parallel_maintenance_workers = 0"


def test_a_writer_without_ownership_builds_no_index(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_PHOTOS_COMPARED", 2)
    with PostgresGallery.create(address, "fake-1", 4) as owner:
        owner.put([row(f"p{i}") for i in range(4)])
        schema, rights = address_of(address).schema, "SELECT, INSERT, UPDATE, DELETE"
        run_sql(address, "CREATE ROLE writer LOGIN", f"GRANT USAGE ON SCHEMA {schema} TO writer",
              f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO writer")  # fmt: skip
        try:
            with PostgresGallery.open(address.replace("postgres@", "writer@")) as gallery:
                gallery.put([row("y"), row("p0", "b")])
                gallery.remove(["p1"])
                assert "only the owner" in gallery.optimize()[0]
                assert gallery.faults() == []
        finally:
            run_sql(address, "DROP OWNED BY writer", "DROP ROLE writer")


# --- damage, planted by SQL ---

FAULTS = [
    ("UPDATE photos SET path = '/other' WHERE id = 'x'", "the entry of photo 'x', row 1"),
    ("DELETE FROM photos WHERE id = 'z'", "2 photos found, expected 3"),
    ("DELETE FROM vectors WHERE number = 2", "vectors of photo 'y', row 2: missing"),
    ("UPDATE vectors SET data = '[1,0,0,0]' WHERE number = 2", "photo 'y', row 2: changed"),
    ("UPDATE vectors SET bank = true WHERE number = 1", "row 1: wrongly marked as a distractor"),
    ("INSERT INTO vectors VALUES (9, true, '[1,0,0,0]')", "vectors, row 9: without its photo"),
    (
        "UPDATE thumbnails SET data = 'x' WHERE number = 1",
        "thumbnails of photo 'x', row 1: changed",
    ),
    ("DELETE FROM looks WHERE number = 1", "looks of photo 'x', row 1: missing"),
    ("INSERT INTO keypoints VALUES (2, 'x')", "keypoints of photo 'y', row 2: stored, but not in"),
    ("INSERT INTO keypoints VALUES (8, 'x')", "keypoints, row 8: without its photo"),
    ("UPDATE landmarks SET record = '{}'", "the record of landmark 'a'"),
    ("DELETE FROM landmarks", "0 landmark records found, expected 1"),
    ("UPDATE meta SET next_row = 2", "the gallery's header"),
    ("DELETE FROM meta", "the gallery's header"),
]


@pytest.mark.parametrize(("damage", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_planted_faults_are_reported(
    address: str, gallery: PostgresGallery, damage: str, fault: str
) -> None:
    gallery.put([row("x", thumbnail=b"jpeg", fingerprint=b"look"), row("y"), row("z", "")])
    gallery.describe([LandmarkRecord("a", "A")])
    assert gallery.faults() == []
    run_sql(address, damage)
    assert any(fault in line for line in gallery.faults()), gallery.faults()


@pytest.mark.parametrize(
    "damage", ["UPDATE photos SET path = 'q' {}", "UPDATE vectors SET data = data + data {}"]
)
def test_damage_in_the_middle_of_a_stream_leaves_the_connection_whole(
    address: str, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """The damage is found while megabytes of the result are unread."""
    monkeypatch.setattr(vectors_module, "BLOCK_ROWS", 16)
    vector = np.full(512, 512**-0.5, np.float32)
    with PostgresGallery.create(address, "fake-1", 512) as gallery:
        gallery.put([GalleryRow(f"p{i}", "p" * 1000, "a", "", "", vector) for i in range(3000)])
        run_sql(address, damage.format("WHERE number = 9"))
        before = gallery._connection
        for _ in range(2):
            with pytest.raises(GalleryError, match=r"damaged .*row 9"):
                gallery.table()
        assert gallery.state().photos == 3000
        assert gallery._connection is before
        with gallery._tables("snapshot") as tables:
            left = tables.entries(None)
            next(left)  # not read to its end, so the connection is closed
        assert gallery.state().photos == 3000
        assert gallery._connection is not before


def test_photos_replaced_by_an_older_state_are_reported(
    address: str, gallery: PostgresGallery
) -> None:
    """All checksums match, but an old version of the photos was restored."""
    gallery.put([row("x", "a")])
    run_sql(address, "CREATE TABLE old AS SELECT * FROM photos")
    gallery.relabel({"x": "b"})
    run_sql(address, "DELETE FROM photos", "INSERT INTO photos SELECT * FROM old")
    assert gallery.faults() == ["the photos do not match the digest of the last change"]
    with pytest.raises(GalleryError, match="damaged"):
        gallery.table()


def test_a_row_number_beyond_the_counter_is_reported(
    address: str, gallery: PostgresGallery
) -> None:
    gallery.put([row("x")])
    state = gallery.state()._replace(next_row=1)
    run_sql(address, f"UPDATE meta SET next_row = 1, sum = {meta_sum(state)}")
    assert gallery.faults() == ["row 1: expected row numbers below 1"]


def test_the_database_refuses_a_second_photo_of_one_id(
    address: str, gallery: PostgresGallery
) -> None:
    gallery.put([row("x")])
    with pytest.raises(psycopg.errors.ExclusionViolation):
        run_sql(address, "INSERT INTO photos SELECT 5, id, path, landmark, hash, stamp, author, "
              "licence, vectors, keypoints, looks, thumbnails, sum FROM photos")  # fmt: skip
    assert gallery.faults() == []
