-- What the nodes count and know together, beside the queue: see package common.

-- Of what a limit allows in any span of a length: how much was taken in each slot, a 60th of the
-- span.
create table dawk.budget (
  name text,
  slot bigint,                     -- since 1970, by the clock of the database
  n    bigint not null,
  primary key (name, slot)
) with (autovacuum_vacuum_scale_factor = 0.02);

-- Gives up to want of a limit, to be used within one slot. owed was used without asking; back was
-- given in a slot and is not used. Times are in ms.
create function dawk.take(name text, most bigint, span bigint, want bigint, owed bigint, back bigint, back_slot bigint,
    out granted bigint, out slot bigint, out wait bigint) language plpgsql as $$
declare
  len   bigint := greatest(span / 60, 250);
  slots bigint := (span + len - 1) / len + 1; -- what is taken at the end of a slot may be used in the next
  ms    bigint;
  used  bigint;
  first bigint;
begin
  perform pg_advisory_xact_lock(1684109163, hashtext(take.name));
  ms := extract(epoch from clock_timestamp()) * 1000;
  slot := ms / len;
  update dawk.budget b set n = greatest(0, b.n - back) where b.name = take.name and b.slot = back_slot and back > 0;
  delete from dawk.budget b where b.name = take.name and (b.slot < take.slot - slots or b.n = 0);
  select coalesce(sum(b.n), 0) + owed, min(b.slot) into used, first from dawk.budget b where b.name = take.name;
  granted := greatest(0, least(want, most - used));
  if granted + owed > 0 then
    insert into dawk.budget as b values (take.name, take.slot, granted + owed)
      on conflict on constraint budget_pkey do update set n = b.n + excluded.n;
  end if;
  wait := greatest(0, (coalesce(first, slot) + slots + 1) * len - ms);
end $$;

-- What users have used of their quotas: it drains evenly.
create table dawk.quota (
  name text primary key,           -- lower case
  used float8[] not null,          -- at that time
  at   timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Takes n of each quota, or of none where one lacks room: amount in secs, of which at most size at
-- once. over is the number of the first that lacks room, or 0. used is what is used then.
create function dawk.spend(name text, amount float8[], size float8[], secs float8[], n float8[], out over int, out used float8[])
    language plpgsql as $$
declare
  q dawk.quota;
begin
  insert into dawk.quota values (spend.name, array_fill(0::float8, array[array_length(n, 1)]), clock_timestamp()) on conflict do nothing;
  select * into q from dawk.quota x where x.name = spend.name for update;
  over := 0;
  used := array(select greatest(0, q.used[i] - amount[i] * greatest(0, extract(epoch from clock_timestamp() - q.at)) / secs[i])
    from generate_series(1, array_length(n, 1)) i order by i);
  for i in 1 .. array_length(n, 1) loop
    if amount[i] > 0 and n[i] > 0 and used[i] + n[i] > size[i] + 1e-9 then
      over := i;
      return;
    end if;
  end loop;
  used := array(select greatest(0, used[i] + case when amount[i] > 0 then n[i] else 0 end) from generate_series(1, array_length(n, 1)) i order by i);
  update dawk.quota x set used = spend.used, at = clock_timestamp() where x.name = spend.name;
end $$;
