CREATE VIEW bins (
  window_size text
  start_time timestamp with time zone
  end_time timestamp with time zone
  tenant text
  metric_name text
  kind text
  labels jsonb
  count bigint
  sum double precision
  avg double precision
  min double precision
  max double precision
);

CREATE TABLE cumulative_points (
  slot integer NOT NULL
  series_id uuid NOT NULL
  start_unix_nano bigint NOT NULL
  time_unix_nano bigint NOT NULL
  point bytea NOT NULL
  cumulative_points_pkey PRIMARY KEY (slot, series_id, start_unix_nano)
);

CREATE TABLE indicator_bins (
  start_time timestamp with time zone NOT NULL
  indicator_id uuid NOT NULL
  slot integer NOT NULL
  tier integer NOT NULL
  good bigint NOT NULL
  total bigint NOT NULL
  indicator_bins_good_check CHECK ((good >= 0))
  indicator_bins_pkey PRIMARY KEY (tier, start_time, indicator_id, slot)
  indicator_bins_tier_check CHECK ((tier >= 0))
  indicator_bins_total_check CHECK ((total >= 0))
);

CREATE TABLE indicator_set (
  id integer NOT NULL
  version bigint NOT NULL
  deleted_version bigint NOT NULL
  indicator_set_check CHECK (((deleted_version >= 0) AND (deleted_version <= version)))
  indicator_set_id_check CHECK ((id = 1))
  indicator_set_pkey PRIMARY KEY (id)
);

CREATE TABLE indicators (
  tenant text NOT NULL
  name text NOT NULL
  indicator_id uuid NOT NULL
  version bigint NOT NULL
  definition bytea NOT NULL
  indicators_indicator_id_key UNIQUE (indicator_id)
  indicators_pkey PRIMARY KEY (tenant, name)
  indicators_version_check CHECK ((version > 0))
);

CREATE VIEW metric_aggregates (
  metric_name text
  window_size text
  timestamp timestamp with time zone
  tags jsonb
  min_value double precision
  max_value double precision
  avg_value double precision
  count bigint
  kind text
);

CREATE TABLE partials_0 (
  start_time timestamp with time zone NOT NULL
  commit_number bigint NOT NULL
  slot integer NOT NULL
  series_id uuid NOT NULL
  count bigint NOT NULL
  float_count bigint NOT NULL
  float_sum double precision NOT NULL
  min double precision NOT NULL
  max double precision NOT NULL
  mean double precision NOT NULL
  m2 double precision NOT NULL
  first double precision NOT NULL
  last double precision NOT NULL
  first_unix_nano bigint NOT NULL
  last_unix_nano bigint NOT NULL
  integer_sum numeric NOT NULL
  sketch bytea
  partials_0_check CHECK (((count > 0) AND ((float_count >= 0) AND (float_count <= count))))
  partials_0_pkey PRIMARY KEY (start_time, slot, series_id, commit_number)
) PARTITION BY RANGE (start_time);

CREATE TABLE partials_1 (
  start_time timestamp with time zone NOT NULL
  commit_number bigint NOT NULL
  slot integer NOT NULL
  series_id uuid NOT NULL
  count bigint NOT NULL
  float_count bigint NOT NULL
  float_sum double precision NOT NULL
  min double precision NOT NULL
  max double precision NOT NULL
  mean double precision NOT NULL
  m2 double precision NOT NULL
  first double precision NOT NULL
  last double precision NOT NULL
  first_unix_nano bigint NOT NULL
  last_unix_nano bigint NOT NULL
  integer_sum numeric NOT NULL
  sketch bytea
  partials_1_check CHECK (((count > 0) AND ((float_count >= 0) AND (float_count <= count))))
  partials_1_pkey PRIMARY KEY (start_time, slot, series_id, commit_number)
) PARTITION BY RANGE (start_time);

CREATE TABLE partials_2 (
  start_time timestamp with time zone NOT NULL
  commit_number bigint NOT NULL
  slot integer NOT NULL
  series_id uuid NOT NULL
  count bigint NOT NULL
  float_count bigint NOT NULL
  float_sum double precision NOT NULL
  min double precision NOT NULL
  max double precision NOT NULL
  mean double precision NOT NULL
  m2 double precision NOT NULL
  first double precision NOT NULL
  last double precision NOT NULL
  first_unix_nano bigint NOT NULL
  last_unix_nano bigint NOT NULL
  integer_sum numeric NOT NULL
  sketch bytea
  partials_2_check CHECK (((count > 0) AND ((float_count >= 0) AND (float_count <= count))))
  partials_2_pkey PRIMARY KEY (start_time, slot, series_id, commit_number)
) PARTITION BY RANGE (start_time);

CREATE TABLE partials_3 (
  start_time timestamp with time zone NOT NULL
  commit_number bigint NOT NULL
  slot integer NOT NULL
  series_id uuid NOT NULL
  count bigint NOT NULL
  float_count bigint NOT NULL
  float_sum double precision NOT NULL
  min double precision NOT NULL
  max double precision NOT NULL
  mean double precision NOT NULL
  m2 double precision NOT NULL
  first double precision NOT NULL
  last double precision NOT NULL
  first_unix_nano bigint NOT NULL
  last_unix_nano bigint NOT NULL
  integer_sum numeric NOT NULL
  sketch bytea
  partials_3_check CHECK (((count > 0) AND ((float_count >= 0) AND (float_count <= count))))
  partials_3_pkey PRIMARY KEY (start_time, slot, series_id, commit_number)
) PARTITION BY RANGE (start_time);

CREATE TABLE partials_4 (
  start_time timestamp with time zone NOT NULL
  commit_number bigint NOT NULL
  slot integer NOT NULL
  series_id uuid NOT NULL
  count bigint NOT NULL
  float_count bigint NOT NULL
  float_sum double precision NOT NULL
  min double precision NOT NULL
  max double precision NOT NULL
  mean double precision NOT NULL
  m2 double precision NOT NULL
  first double precision NOT NULL
  last double precision NOT NULL
  first_unix_nano bigint NOT NULL
  last_unix_nano bigint NOT NULL
  integer_sum numeric NOT NULL
  sketch bytea
  partials_4_check CHECK (((count > 0) AND ((float_count >= 0) AND (float_count <= count))))
  partials_4_pkey PRIMARY KEY (start_time, slot, series_id, commit_number)
) PARTITION BY RANGE (start_time);

CREATE TABLE schema_migrations (
  number integer NOT NULL
  name text NOT NULL
  checksum bigint NOT NULL
  applied_time timestamp with time zone NOT NULL DEFAULT now()
  schema_migrations_number_check CHECK ((number > 0))
  schema_migrations_pkey PRIMARY KEY (number)
);

CREATE TABLE series (
  series_id uuid NOT NULL
  slot integer NOT NULL
  tenant text NOT NULL
  name text NOT NULL
  kind smallint NOT NULL
  labels jsonb NOT NULL
  series_kind_check CHECK (((kind >= 1) AND (kind <= 4)))
  series_labels_check CHECK ((jsonb_typeof(labels) = 'object'::text))
  series_pkey PRIMARY KEY (series_id, slot)
);
CREATE INDEX series_by_label ON series USING gin (labels jsonb_path_ops);
CREATE INDEX series_by_name ON series USING btree (tenant, name, series_id);

CREATE TABLE slot_tiers (
  slot integer NOT NULL
  tier integer NOT NULL
  derived_until timestamp with time zone NOT NULL
  slot_tiers_pkey PRIMARY KEY (slot, tier)
  slot_tiers_tier_check CHECK ((tier > 0))
);

CREATE TABLE slots (
  slot integer NOT NULL
  owner text NOT NULL
  epoch bigint NOT NULL
  commit_number bigint NOT NULL
  slots_commit_number_check CHECK ((commit_number >= 0))
  slots_epoch_check CHECK ((epoch >= 0))
  slots_pkey PRIMARY KEY (slot)
  slots_slot_check CHECK ((slot >= 0))
);

CREATE TABLE store_meta (
  id integer NOT NULL
  slot_count integer NOT NULL
  created_time timestamp with time zone NOT NULL
  store_meta_id_check CHECK ((id = 1))
  store_meta_pkey PRIMARY KEY (id)
  store_meta_slot_count_check CHECK (((slot_count >= 1) AND (slot_count <= 1024)))
);

CREATE TABLE tiers (
  tier integer NOT NULL
  window_size text NOT NULL
  window_seconds bigint NOT NULL
  bin_seconds bigint NOT NULL
  retention_seconds bigint NOT NULL
  partition_seconds bigint NOT NULL
  floor_time timestamp with time zone NOT NULL
  tiers_bin_seconds_check CHECK ((bin_seconds > 0))
  tiers_check CHECK ((retention_seconds >= window_seconds))
  tiers_check1 CHECK (((partition_seconds % bin_seconds) = 0))
  tiers_pkey PRIMARY KEY (tier)
  tiers_tier_check CHECK ((tier >= 0))
  tiers_window_seconds_check CHECK ((window_seconds > 0))
  tiers_window_size_check CHECK ((window_size <> ''::text))
  tiers_window_size_key UNIQUE (window_size)
);

CREATE TABLE watermarks (
  slot integer NOT NULL
  wal_id uuid NOT NULL
  lsn bigint NOT NULL
  complete_until_unix_nano bigint NOT NULL
  heard_unix_nano bigint NOT NULL
  watermarks_lsn_check CHECK ((lsn >= 0))
  watermarks_pkey PRIMARY KEY (slot, wal_id)
);

