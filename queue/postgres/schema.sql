-- The rows are those of package record, as in a bbolt file: only what the
-- database must search by is a column. Each group of the writer is one
-- transaction that locks the row of its node FOR SHARE; taking a node's work away
-- changes that row, so that a node that was thought dead can commit nothing more.

create table dawk.cluster (
  one    bool primary key default true check (one),
  layout int not null,
  dir    int not null,             -- relay.QueueID.Dir of all nodes
  turn   bigint not null default 0, -- grows when the units of small limits go to the next node
  made   timestamptz not null default now()
);

create table dawk.node (
  id      smallint primary key check (id between 1 and 255),
  epoch   bigint not null,         -- grows whenever somebody joins under this number, or takes its work
  live    bool not null,           -- false: it left, or its work was taken
  home    text not null,           -- names its data directory
  name    text not null,
  version text not null
) with (fillfactor = 10);

-- Apart from node, so that a beat never waits for a commit.
create table dawk.beat (
  id   smallint primary key references dawk.node,
  n    bigint not null,
  high bigint not null,            -- above every key that it has given
  told bigint not null default 0,  -- everybody has got its events up to this number
  acked bigint not null default 0  -- the generation that it has acknowledged: see package share
) with (fillfactor = 10);

create table dawk.part (
  part smallint primary key,       -- the low 8 bits of a message's key
  node smallint references dawk.node,
  want smallint references dawk.node -- who is to have it once it is empty
) with (fillfactor = 10);

-- Never updated. A body of up to 7 KiB lies in the row, a larger one is toasted
-- without compression, one that is larger than the inline limit is in chunk.
create table dawk.msg (
  key  bigint primary key,
  head bytea not null,
  body bytea
) with (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
alter table dawk.msg alter head set storage main, alter body set storage external;

create table dawk.chunk (
  key  bigint,
  n    int,
  data bytea not null,
  primary key (key, n)
);
alter table dawk.chunk alter data set storage external;

-- One row a Delivery. Nothing that changes is indexed: a retry is a HOT update.
create table dawk.job (
  part smallint,
  key  bigint,
  job  int,
  row  bytea not null,
  primary key (part, key, job)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create table dawk.hist (
  key bigint,
  job int,                         -- 65535: n is the number of the next Delivery that parts from another
  n   bigint,
  row bytea not null,
  primary key (key, job, n)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- What senders are still to be told in a list.
create table dawk.digest (
  part smallint,
  key  bigint,
  row  bytea not null,
  primary key (part, key)
);

-- What those are told who are told later: see queue.Outbox. Each node tells its own, and
-- what a dead one has not told goes to one that lives under a new number.
create table dawk.event (
  node smallint not null,
  n    bigint not null,
  id   bigint,                     -- the number that it was given first, where that is another
  at   timestamptz not null default now(),
  row  bytea not null,
  primary key (node, n)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Rows that could not be read.
create table dawk.aside (
  key  bigint not null,
  kind text not null,              -- message, delivery, attempt or notice
  why  text not null,
  row  bytea not null,
  at   timestamptz not null default now()
);

-- Locks the node's row against takeover until the commit, or refuses.
create function dawk.fence(node smallint, epoch bigint) returns void language plpgsql as $$
begin
  perform from dawk.node n where n.id = fence.node and n.epoch = fence.epoch and n.live for share;
  if not found then
    raise exception 'node % of epoch % has been replaced', node, epoch using errcode = 'DWK01';
  end if;
end $$;
