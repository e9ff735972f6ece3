-- Why: the aggregator's store: slots and their owners, watermarks, tiers, series
-- and the partial rows of every bin.
-- Locks: new tables only. Undo: delete the file (loses everything the store holds).
--
-- A statement that names {tier} runs once for each tier of the store. Instants
-- are Unix seconds or, where the name says so, nanoseconds; 128-bit ids are 16
-- bytes, most significant first.

-- What the store was created as. One row.
CREATE TABLE store_meta (
  id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  slot_count      INTEGER NOT NULL CHECK (slot_count BETWEEN 1 AND 1024),
  created_seconds INTEGER NOT NULL
) STRICT;

-- The tier table. A floor is what retention has dropped: bins that start before
-- it are gone, whether or not their rows are.
CREATE TABLE tiers (
  tier              INTEGER NOT NULL PRIMARY KEY CHECK (tier >= 0),
  window_size       TEXT    NOT NULL UNIQUE CHECK (window_size <> ''),
  window_seconds    INTEGER NOT NULL CHECK (window_seconds > 0),
  bin_seconds       INTEGER NOT NULL CHECK (bin_seconds > 0),
  retention_seconds INTEGER NOT NULL CHECK (retention_seconds >= window_seconds),
  floor_seconds     INTEGER NOT NULL
) STRICT;

-- Who may commit to a slot: the owner under the highest epoch.
CREATE TABLE slots (
  slot          INTEGER NOT NULL PRIMARY KEY CHECK (slot >= 0),
  owner         TEXT    NOT NULL,
  epoch         INTEGER NOT NULL CHECK (epoch >= 0),
  commit_number INTEGER NOT NULL CHECK (commit_number >= 0)
) STRICT;

-- How far each coarser tier has been derived: it holds everything committed
-- with an event time before derived_until, and nothing after it.
CREATE TABLE slot_tiers (
  slot                  INTEGER NOT NULL,
  tier                  INTEGER NOT NULL CHECK (tier > 0),
  derived_until_seconds INTEGER NOT NULL,
  PRIMARY KEY (slot, tier)
) STRICT, WITHOUT ROWID;

-- Per (slot, WAL): the last frame whose effects are committed. The two times are
-- receive times; the lowest and highest integer stand for "never" and "always".
CREATE TABLE watermarks (
  slot                     INTEGER NOT NULL,
  wal_id                   BLOB    NOT NULL CHECK (length(wal_id) = 16),
  lsn                      INTEGER NOT NULL CHECK (lsn >= 0),
  complete_until_unix_nano INTEGER NOT NULL,
  heard_unix_nano          INTEGER NOT NULL,
  PRIMARY KEY (slot, wal_id)
) STRICT, WITHOUT ROWID;

-- A series has a row in every slot that holds partials of it.
CREATE TABLE series (
  series_id BLOB    NOT NULL CHECK (length(series_id) = 16),
  slot      INTEGER NOT NULL,
  tenant    TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  kind      INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
  labels    TEXT    NOT NULL CHECK (json_valid(labels)),
  PRIMARY KEY (series_id, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX series_by_name ON series (tenant, name, series_id);

-- The mergeable aggregate of some samples of one series and bin; rows of one bin
-- merge on read. Bin first, because a flush writes a bin and a query reads one.
-- SQLite has no NaN: NULL stands for it where finite samples can lead to one.
CREATE TABLE partials_{tier} (
  start_seconds   INTEGER NOT NULL,  -- inclusive; the bin is bin_seconds wide
  slot            INTEGER NOT NULL,
  series_id       BLOB    NOT NULL,
  commit_number   INTEGER NOT NULL,  -- the slot's commit that wrote the row
  count           INTEGER NOT NULL,
  float_count     INTEGER NOT NULL,  -- how many of count were sent as floating point
  integer_sum     ANY     NOT NULL,  -- of the others; decimal text past 64 bits
  float_sum       REAL,              -- of the floating point ones
  min             REAL    NOT NULL,
  max             REAL    NOT NULL,
  mean            REAL,
  m2              REAL,              -- sum of squared distances from the mean
  first           REAL    NOT NULL,
  last            REAL    NOT NULL,
  first_unix_nano INTEGER NOT NULL,
  last_unix_nano  INTEGER NOT NULL,
  sketch          BLOB,              -- docs/formats/sketch.md
  PRIMARY KEY (start_seconds, slot, series_id, commit_number),
  CHECK (count > 0 AND float_count BETWEEN 0 AND count)
) STRICT, WITHOUT ROWID;
