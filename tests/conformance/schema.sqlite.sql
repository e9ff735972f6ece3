CREATE INDEX series_by_name ON series (tenant, name, series_id);

CREATE TABLE cumulative_points (
  slot            INTEGER NOT NULL,
  series_id       BLOB    NOT NULL CHECK (length(series_id) = 16),
  start_unix_nano INTEGER NOT NULL,
  time_unix_nano  INTEGER NOT NULL,
  point           BLOB    NOT NULL,  -- docs/formats/frame.md, "Points"
  PRIMARY KEY (slot, series_id, start_unix_nano)
) STRICT, WITHOUT ROWID;

CREATE TABLE indicator_bins (
  tier          INTEGER NOT NULL CHECK (tier >= 0),  -- 10 s, 1 min, 15 min, 1 h
  start_seconds INTEGER NOT NULL,  -- inclusive
  indicator_id  BLOB    NOT NULL CHECK (length(indicator_id) = 16),
  slot          INTEGER NOT NULL,
  good          INTEGER NOT NULL CHECK (good >= 0),
  total         INTEGER NOT NULL CHECK (total >= 0),
  PRIMARY KEY (tier, start_seconds, indicator_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE indicator_set (
  id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  version         INTEGER NOT NULL,
  deleted_version INTEGER NOT NULL,  -- the last one that left bins to nobody; 0: none did
  CHECK (deleted_version BETWEEN 0 AND version)
) STRICT;

CREATE TABLE indicators (
  tenant       TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  indicator_id BLOB    NOT NULL UNIQUE CHECK (length(indicator_id) = 16),
  version      INTEGER NOT NULL CHECK (version > 0),
  definition   BLOB    NOT NULL,  -- the aggregator's own
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE partials_0 (
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

CREATE TABLE partials_1 (
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

CREATE TABLE partials_2 (
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

CREATE TABLE partials_3 (
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

CREATE TABLE partials_4 (
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

CREATE TABLE schema_migrations (
  number       INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
  name         TEXT    NOT NULL,
  checksum     INTEGER NOT NULL,  -- CRC-32C of the file
  applied_time TEXT    NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

CREATE TABLE series (
  series_id BLOB    NOT NULL CHECK (length(series_id) = 16),
  slot      INTEGER NOT NULL,
  tenant    TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  kind      INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
  labels    TEXT    NOT NULL CHECK (json_valid(labels)),
  PRIMARY KEY (series_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE slot_tiers (
  slot                  INTEGER NOT NULL,
  tier                  INTEGER NOT NULL CHECK (tier > 0),
  derived_until_seconds INTEGER NOT NULL,
  PRIMARY KEY (slot, tier)
) STRICT, WITHOUT ROWID;

CREATE TABLE slots (
  slot          INTEGER NOT NULL PRIMARY KEY CHECK (slot >= 0),
  owner         TEXT    NOT NULL,
  epoch         INTEGER NOT NULL CHECK (epoch >= 0),
  commit_number INTEGER NOT NULL CHECK (commit_number >= 0)
) STRICT;

CREATE TABLE store_meta (
  id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  slot_count      INTEGER NOT NULL CHECK (slot_count BETWEEN 1 AND 1024),
  created_seconds INTEGER NOT NULL
) STRICT;

CREATE TABLE tiers (
  tier              INTEGER NOT NULL PRIMARY KEY CHECK (tier >= 0),
  window_size       TEXT    NOT NULL UNIQUE CHECK (window_size <> ''),
  window_seconds    INTEGER NOT NULL CHECK (window_seconds > 0),
  bin_seconds       INTEGER NOT NULL CHECK (bin_seconds > 0),
  retention_seconds INTEGER NOT NULL CHECK (retention_seconds >= window_seconds),
  floor_seconds     INTEGER NOT NULL
) STRICT;

CREATE TABLE watermarks (
  slot                     INTEGER NOT NULL,
  wal_id                   BLOB    NOT NULL CHECK (length(wal_id) = 16),
  lsn                      INTEGER NOT NULL CHECK (lsn >= 0),
  complete_until_unix_nano INTEGER NOT NULL,
  heard_unix_nano          INTEGER NOT NULL,
  PRIMARY KEY (slot, wal_id)
) STRICT, WITHOUT ROWID;

CREATE VIEW bins AS
  SELECT '5m' AS window_size, datetime(b.start_seconds, 'unixepoch') AS start_time, datetime(b.start_seconds + 10, 'unixepoch') AS end_time,
    s.tenant, s.name AS metric_name, CASE s.kind WHEN 1 THEN 'gauge' WHEN 2 THEN 'counter' WHEN 3 THEN 'up_down_counter' WHEN 4 THEN 'distribution' END AS kind, s.labels,
    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max
  FROM (
    SELECT start_seconds, series_id, min(slot) AS slot, sum(count) AS count,
      CASE WHEN count(float_sum) = count(*) THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END AS sum, min(min) AS min, max(max) AS max
    FROM (
      SELECT p.start_seconds, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_0 p
      WHERE p.start_seconds >= (SELECT t.floor_seconds FROM tiers t WHERE t.tier = 0)
    ) AS r
    GROUP BY start_seconds, series_id
  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot
  UNION ALL
  SELECT '1h' AS window_size, datetime(b.start_seconds, 'unixepoch') AS start_time, datetime(b.start_seconds + 60, 'unixepoch') AS end_time,
    s.tenant, s.name AS metric_name, CASE s.kind WHEN 1 THEN 'gauge' WHEN 2 THEN 'counter' WHEN 3 THEN 'up_down_counter' WHEN 4 THEN 'distribution' END AS kind, s.labels,
    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max
  FROM (
    SELECT start_seconds, series_id, min(slot) AS slot, sum(count) AS count,
      CASE WHEN count(float_sum) = count(*) THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END AS sum, min(min) AS min, max(max) AS max
    FROM (
      SELECT p.start_seconds, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_1 p
      WHERE p.start_seconds >= (SELECT t.floor_seconds FROM tiers t WHERE t.tier = 1)
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 60) + 60) % 60, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_0 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 1
      WHERE p.start_seconds >= d.derived_until_seconds
    ) AS r
    GROUP BY start_seconds, series_id
  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot
  UNION ALL
  SELECT '24h' AS window_size, datetime(b.start_seconds, 'unixepoch') AS start_time, datetime(b.start_seconds + 900, 'unixepoch') AS end_time,
    s.tenant, s.name AS metric_name, CASE s.kind WHEN 1 THEN 'gauge' WHEN 2 THEN 'counter' WHEN 3 THEN 'up_down_counter' WHEN 4 THEN 'distribution' END AS kind, s.labels,
    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max
  FROM (
    SELECT start_seconds, series_id, min(slot) AS slot, sum(count) AS count,
      CASE WHEN count(float_sum) = count(*) THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END AS sum, min(min) AS min, max(max) AS max
    FROM (
      SELECT p.start_seconds, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_2 p
      WHERE p.start_seconds >= (SELECT t.floor_seconds FROM tiers t WHERE t.tier = 2)
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 900) + 900) % 900, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_1 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 2
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 900) + 900) % 900, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_0 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 1
      WHERE p.start_seconds >= d.derived_until_seconds
    ) AS r
    GROUP BY start_seconds, series_id
  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot
  UNION ALL
  SELECT '30d' AS window_size, datetime(b.start_seconds, 'unixepoch') AS start_time, datetime(b.start_seconds + 3600, 'unixepoch') AS end_time,
    s.tenant, s.name AS metric_name, CASE s.kind WHEN 1 THEN 'gauge' WHEN 2 THEN 'counter' WHEN 3 THEN 'up_down_counter' WHEN 4 THEN 'distribution' END AS kind, s.labels,
    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max
  FROM (
    SELECT start_seconds, series_id, min(slot) AS slot, sum(count) AS count,
      CASE WHEN count(float_sum) = count(*) THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END AS sum, min(min) AS min, max(max) AS max
    FROM (
      SELECT p.start_seconds, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_3 p
      WHERE p.start_seconds >= (SELECT t.floor_seconds FROM tiers t WHERE t.tier = 3)
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 3600) + 3600) % 3600, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_2 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 3
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 3600) + 3600) % 3600, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_1 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 2
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 3600) + 3600) % 3600, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_0 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 1
      WHERE p.start_seconds >= d.derived_until_seconds
    ) AS r
    GROUP BY start_seconds, series_id
  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot
  UNION ALL
  SELECT '1y' AS window_size, datetime(b.start_seconds, 'unixepoch') AS start_time, datetime(b.start_seconds + 86400, 'unixepoch') AS end_time,
    s.tenant, s.name AS metric_name, CASE s.kind WHEN 1 THEN 'gauge' WHEN 2 THEN 'counter' WHEN 3 THEN 'up_down_counter' WHEN 4 THEN 'distribution' END AS kind, s.labels,
    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max
  FROM (
    SELECT start_seconds, series_id, min(slot) AS slot, sum(count) AS count,
      CASE WHEN count(float_sum) = count(*) THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END AS sum, min(min) AS min, max(max) AS max
    FROM (
      SELECT p.start_seconds, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_4 p
      WHERE p.start_seconds >= (SELECT t.floor_seconds FROM tiers t WHERE t.tier = 4)
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 86400) + 86400) % 86400, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_3 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 4
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 86400) + 86400) % 86400, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_2 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 3
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 86400) + 86400) % 86400, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_1 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 2
      WHERE p.start_seconds >= d.derived_until_seconds
      UNION ALL
      SELECT p.start_seconds - ((p.start_seconds % 86400) + 86400) % 86400, p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max
      FROM partials_0 p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = 1
      WHERE p.start_seconds >= d.derived_until_seconds
    ) AS r
    GROUP BY start_seconds, series_id
  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot;

CREATE VIEW metric_aggregates AS
  SELECT metric_name, window_size, start_time AS timestamp, labels AS tags,
    min AS min_value, max AS max_value, avg AS avg_value, count, kind
  FROM bins;

