-- Who this database is: Redis keeps the id beside its keys, so that no other database takes them for its own.

create table hitzero.installation (
  installation_id uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now(),
  only_row boolean primary key default true check (only_row)
);
comment on table hitzero.installation is 'One row: the identity of this database. A dump keeps it, so a restored database is the same installation.';
comment on column hitzero.installation.installation_id is 'Compared with the id in Redis by every script: a Redis that another database fills is refused.';
comment on column hitzero.installation.created_at is 'When the id was made.';
comment on column hitzero.installation.only_row is 'Keeps it one row.';
insert into hitzero.installation default values;
