-- Why: the aggregator's store: slots and their owners, watermarks, tiers, series
-- and the partial rows of every bin.
-- Locks: new tables only. Undo: drop the schema (loses everything the store holds).
--
-- A statement that names {tier} runs once for each tier of the store.

-- What the store was created as. One row.
CREATE TABLE store_meta (
  id           integer     PRIMARY KEY CHECK (id = 1),
  slot_count   integer     NOT NULL CHECK (slot_count BETWEEN 1 AND 1024),
  created_time timestamptz NOT NULL
);

-- The tier table. A floor is what retention has dropped: bins that start before
-- it are gone, whether or not their rows are.
CREATE TABLE tiers (
  tier              integer     PRIMARY KEY CHECK (tier >= 0),
  window_size       text        NOT NULL UNIQUE CHECK (window_size <> ''),
  window_seconds    bigint      NOT NULL CHECK (window_seconds > 0),
  bin_seconds       bigint      NOT NULL CHECK (bin_seconds > 0),
  retention_seconds bigint      NOT NULL CHECK (retention_seconds >= window_seconds),
  partition_seconds bigint      NOT NULL CHECK (partition_seconds % bin_seconds = 0),
  floor_time        timestamptz NOT NULL
);

-- Who may commit to a slot: the owner under the highest epoch.
CREATE TABLE slots (
  slot          integer PRIMARY KEY CHECK (slot >= 0),
  owner         text    NOT NULL,
  epoch         bigint  NOT NULL CHECK (epoch >= 0),
  commit_number bigint  NOT NULL CHECK (commit_number >= 0)
);

-- How far each coarser tier has been derived: it holds everything committed
-- with an event time before derived_until, and nothing after it.
CREATE TABLE slot_tiers (
  slot          integer     NOT NULL,
  tier          integer     NOT NULL CHECK (tier > 0),
  derived_until timestamptz NOT NULL,
  PRIMARY KEY (slot, tier)
);

-- Per (slot, WAL): the last frame whose effects are committed. The two times are
-- receive times; the lowest and highest bigint stand for "never" and "always".
CREATE TABLE watermarks (
  slot                     integer NOT NULL,
  wal_id                   uuid    NOT NULL,
  lsn                      bigint  NOT NULL CHECK (lsn >= 0),
  complete_until_unix_nano bigint  NOT NULL,
  heard_unix_nano          bigint  NOT NULL,
  PRIMARY KEY (slot, wal_id)
);

-- A series has a row in every slot that holds partials of it.
CREATE TABLE series (
  series_id uuid     NOT NULL,
  slot      integer  NOT NULL,
  tenant    text     NOT NULL,
  name      text     NOT NULL,
  kind      smallint NOT NULL CHECK (kind BETWEEN 1 AND 4),
  labels    jsonb    NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
  PRIMARY KEY (series_id, slot)
);
CREATE INDEX series_by_name ON series (tenant, name, series_id);
CREATE INDEX series_by_label ON series USING gin (labels jsonb_path_ops);

-- The mergeable aggregate of some samples of one series and bin; rows of one bin
-- merge on read. Bin first, because a flush writes a bin and a query reads one.
-- Partitions are made by the program, partition_seconds each, before a commit
-- that needs them.
CREATE TABLE partials_{tier} (
  start_time      timestamptz      NOT NULL,  -- inclusive; the bin is bin_seconds wide
  commit_number   bigint           NOT NULL,  -- the slot's commit that wrote the row
  slot            integer          NOT NULL,
  series_id       uuid             NOT NULL,
  count           bigint           NOT NULL,
  float_count     bigint           NOT NULL,  -- how many of count were sent as floating point
  float_sum       double precision NOT NULL,  -- of those
  min             double precision NOT NULL,
  max             double precision NOT NULL,
  mean            double precision NOT NULL,
  m2              double precision NOT NULL,  -- sum of squared distances from the mean
  first           double precision NOT NULL,
  last            double precision NOT NULL,
  first_unix_nano bigint           NOT NULL,
  last_unix_nano  bigint           NOT NULL,
  integer_sum     numeric          NOT NULL,  -- of the others, exact to 128 bits
  sketch          bytea,                      -- docs/formats/sketch.md
  PRIMARY KEY (start_time, slot, series_id, commit_number),
  CHECK (count > 0 AND float_count BETWEEN 0 AND count)
) PARTITION BY RANGE (start_time);
