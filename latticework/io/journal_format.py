"""Tables of the journal: as they are made, and how an older journal becomes one of today.

Format 2 added exit codes and times of dispatch to attempts, versions to sessions, every definition
that a stage ever had, arrivals of tiles, and the indexes that let histories of millions of attempts
be asked by time, worker or failure.
"""

import sqlite3

FORMAT = 2
"""Format that is written."""

TABLES = """
create table meta (key text primary key, value text) without rowid;
create table stages (
    id integer primary key, name text not null, definition text not null, fingerprint text not null,
    output text, created real not null, removed real
);
create unique index stage_names on stages (name) where removed is null;
create table sessions (
    id integer primary key, started real not null, host text, pid integer, version text, ended real,
    versions text
);
create table batches (
    session integer not null, batch integer not null, stage integer not null,
    units blob not null, attempts blob not null, dispatched real not null,
    primary key (session, batch)
);
create table attempts (
    id integer primary key, stage integer not null, unit integer not null, attempt integer not null,
    outcome integer not null, session integer not null, started real, ended real, cpu_s real,
    peak_memory integer, bytes_read integer, bytes_written integer, fingerprint integer,
    worker integer, error integer, exit_code integer, dispatched real
);
create index attempts_of on attempts (stage, unit);
create table workers (id integer primary key, address text not null, host text);
create table errors (
    id integer primary key, type text not null, message text not null, traceback text not null,
    unique (type, message, traceback)
);
create table records (
    stage integer not null, unit integer not null, value text not null, primary key (stage, unit)
) without rowid;
create table changes (
    id integer primary key, at real not null, stage integer not null, what text not null,
    units blob not null, after integer not null
);
create table snapshots (
    stage integer primary key, attempt integer not null, change integer not null,
    states blob not null
);
create table commands (
    id integer primary key, at real not null, command text not null, arguments text not null,
    done real, answer text
);
"""

NEW_IN_2 = """
create table definitions (
    id integer primary key, stage integer not null, fingerprint text not null,
    definition text not null, since real not null
);
create index definitions_of on definitions (stage, since);
create table arrivals (at real not null, units integer not null, bytes integer not null);
create index arrivals_at on arrivals (at);
create index attempts_ended on attempts (ended);
create index attempts_by on attempts (worker);
create index attempts_bad on attempts (stage, outcome) where outcome <> 1;
"""

SCHEMA = TABLES + NEW_IN_2
"""A new journal."""

UPGRADE = (
    "alter table attempts add column exit_code integer",
    "alter table attempts add column dispatched real",
    "alter table sessions add column versions text",
    *(part for part in NEW_IN_2.split(";") if part.strip()),
    """insert into definitions (stage, fingerprint, definition, since)
    select id, fingerprint, definition, created from stages""",
    "update meta set value = '2' where key = 'format'",
)
"""From format 1 to 2."""

AS_IF_NEWER = (
    """create temp view attempts as
    select *, null as exit_code, null as dispatched from main.attempts""",
    "create temp view sessions as select *, null as versions from main.sessions",
    """create temp view definitions as
    select id, id as stage, fingerprint, definition, created as since from main.stages""",
    "create temp view arrivals as select 0.0 as at, 0 as units, 0 as bytes where 0",
)
"""What lets a journal of format 1 be read like one of format 2, without writing to it."""


def upgrade(db: sqlite3.Connection) -> None:
    """Bring a journal to this format, all at once or not at all."""
    db.execute("begin immediate")
    try:
        found = db.execute("select value from meta where key='format'").fetchone()
        if int(found[0]) < FORMAT:  # else another process was quicker
            for statement in UPGRADE:
                db.execute(statement)
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def read_as_newer(db: sqlite3.Connection) -> None:
    """Let a connection that only reads see an older journal as if it were of this format."""
    db.execute("pragma temp_store=memory")
    for statement in AS_IF_NEWER:
        db.execute(statement)
