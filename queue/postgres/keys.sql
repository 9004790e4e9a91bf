-- Idempotency keys of the HTTP door, for a day.
create table dawk.key (
  owner text,                      -- the user
  key   text,
  value bytea,                     -- null: a node works on its message
  at    timestamptz not null default now(),
  primary key (owner, key)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index key_at on dawk.key (at);
