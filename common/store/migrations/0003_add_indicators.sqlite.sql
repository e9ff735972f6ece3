-- Why: the aggregator counts indicators as it folds, in the transaction that
-- commits the samples; burn rates and budgets are computed from these counts. And
-- the view metric_aggregates says the kind of a series (views are made anew after
-- every migration).
-- Locks: new tables only. Undo: drop tables indicator_bins, indicator_set and
-- indicators (what they have counted is lost).

-- What is counted. A new version may come with another id: then it starts at
-- zero, and the bins of the old id belong to nobody.
CREATE TABLE indicators (
  tenant       TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  indicator_id BLOB    NOT NULL UNIQUE CHECK (length(indicator_id) = 16),
  version      INTEGER NOT NULL CHECK (version > 0),
  definition   BLOB    NOT NULL,  -- the aggregator's own
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- The version of all of them together: every commit that changes an indicator
-- raises it, and a commit that counted compares it. One row.
CREATE TABLE indicator_set (
  id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  version         INTEGER NOT NULL,
  deleted_version INTEGER NOT NULL,  -- the last one that left bins to nobody; 0: none did
  CHECK (deleted_version BETWEEN 0 AND version)
) STRICT;
INSERT INTO indicator_set VALUES (1, 1, 0);

-- Counts, added to by every commit; one row per slot, because only a slot's owner
-- may add to what the slot has counted. Tier and bin first, because a flush writes
-- the newest bins, readers ask for ranges of them, and retention drops the oldest.
CREATE TABLE indicator_bins (
  tier          INTEGER NOT NULL CHECK (tier >= 0),  -- 10 s, 1 min, 15 min, 1 h
  start_seconds INTEGER NOT NULL,  -- inclusive
  indicator_id  BLOB    NOT NULL CHECK (length(indicator_id) = 16),
  slot          INTEGER NOT NULL,
  good          INTEGER NOT NULL CHECK (good >= 0),
  total         INTEGER NOT NULL CHECK (total >= 0),
  PRIMARY KEY (tier, start_seconds, indicator_id, slot)
) STRICT, WITHOUT ROWID;
