-- Why: the aggregator counts indicators as it folds, in the transaction that
-- commits the samples; burn rates and budgets are computed from these counts. And
-- the view metric_aggregates says the kind of a series (views are made anew after
-- every migration).
-- Locks: new tables only. Undo: drop tables indicator_bins, indicator_set and
-- indicators (what they have counted is lost).

-- What is counted. A new version may come with another id: then it starts at
-- zero, and the bins of the old id belong to nobody.
CREATE TABLE indicators (
  tenant       text COLLATE "C" NOT NULL,
  name         text COLLATE "C" NOT NULL,
  indicator_id uuid             NOT NULL UNIQUE,
  version      bigint           NOT NULL CHECK (version > 0),
  definition   bytea            NOT NULL,  -- the aggregator's own
  PRIMARY KEY (tenant, name)
);

-- The version of all of them together: every commit that changes an indicator
-- raises it, and a commit that counted compares it. One row.
CREATE TABLE indicator_set (
  id              integer PRIMARY KEY CHECK (id = 1),
  version         bigint  NOT NULL,
  deleted_version bigint  NOT NULL,  -- the last one that left bins to nobody; 0: none did
  CHECK (deleted_version BETWEEN 0 AND version)
);
INSERT INTO indicator_set VALUES (1, 1, 0);

-- Counts, added to by every commit; one row per slot, because only a slot's owner
-- may add to what the slot has counted. Tier and bin first, because a flush writes
-- the newest bins, readers ask for ranges of them, and retention drops the oldest.
--
-- Every flush adds to all rows of the newest bins. The room left in a page holds
-- the new version of each beside the old one, so neither the index nor another
-- page is touched.
CREATE TABLE indicator_bins (
  start_time   timestamptz NOT NULL,  -- inclusive
  indicator_id uuid        NOT NULL,
  slot         integer     NOT NULL,
  tier         integer     NOT NULL CHECK (tier >= 0),  -- 10 s, 1 min, 15 min, 1 h
  good         bigint      NOT NULL CHECK (good >= 0),
  total        bigint      NOT NULL CHECK (total >= 0),
  PRIMARY KEY (tier, start_time, indicator_id, slot)
) WITH (fillfactor = 50);
