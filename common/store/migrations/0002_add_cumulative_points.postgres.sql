-- Why: an aggregator that takes a slot goes on converting cumulative series where
-- the one before it stopped, without losing or doubling an increase.
-- Locks: new table only. Undo: drop table cumulative_points (cumulative series
-- begin anew: what they rose by until their next point is lost).

-- The last point of a cumulative series that began at start_unix_nano (0: not
-- known): what the increase of the next one is computed from. A series has
-- several rows while points from before and after a restart are in flight.
--
-- Every flush rewrites the rows of the series it saw. The room left in a page
-- holds the new version beside the old one, so neither the index nor another
-- page is touched.
CREATE TABLE cumulative_points (
  slot            integer NOT NULL,
  series_id       uuid    NOT NULL,
  start_unix_nano bigint  NOT NULL,
  time_unix_nano  bigint  NOT NULL,
  point           bytea   NOT NULL,  -- docs/formats/frame.md, "Points"
  PRIMARY KEY (slot, series_id, start_unix_nano)
) WITH (fillfactor = 50);
